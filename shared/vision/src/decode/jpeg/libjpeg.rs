//! The pixels of a JPEG, by libjpeg-turbo.
//!
//! libjpeg-turbo shows what it can of a damaged picture and warns. Here a warning ends the
//! decoding, unless the whole picture is there in spite of it.

use std::{
    ffi::{c_int, c_long, c_uint},
    marker::PhantomData,
    mem,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    ptr::NonNull,
};

use mozjpeg_sys as ffi;

use super::{Stored, filler, flaw::Flaw, header::Header};

/// What the decoder reads where the bytes end: an end marker.
static END: [u8; 2] = [0xFF, super::segments::marker::EOI];

/// The most rows that are decoded at once: libjpeg-turbo makes up to four.
const ROWS: usize = 4;

/// What is decoded.
pub struct Source<'a> {
    pub bytes: &'a [u8],
    pub header: &'a Header<'a>,
    /// What the components are, whatever the bytes say.
    pub stored: Option<Stored>,
}

/// Decodes the picture to `pixels`: a byte for each pixel of a grey picture, otherwise RGB.
/// The coefficients of a picture in several scans may take `memory` bytes. `cmyk_to_rgb`
/// converts a row of CMYK, in which 0 is full ink.
pub fn decode(
    source: &Source,
    memory: u64,
    cmyk_to_rgb: impl Fn(&[u8], &mut [u8]),
    pixels: &mut [u8],
) -> Result<(), Flaw> {
    let &Source {
        bytes,
        header,
        stored,
    } = source;
    let mut session = Session::new(bytes, memory);
    session.start(header, stored)?;
    session.read_rows(header, cmyk_to_rgb, pixels)?;
    if header.several_scans {
        session.check_scans(header)
    } else {
        session.check_rest()
    }
}

/// A file while it is decoded.
struct Session<'a> {
    /// The parts refer to each other by address, so that they lie on the heap and are
    /// reached by this pointer alone.
    parts: NonNull<Parts>,
    bytes: PhantomData<&'a [u8]>,
}

struct Parts {
    decoder: ffi::jpeg_decompress_struct,
    errors: ffi::jpeg_error_mgr,
    source: ffi::jpeg_source_mgr,
    state: State,
}

/// What the functions that libjpeg-turbo calls know of the file.
struct State {
    bytes: *const [u8],
    /// True once the decoder asked for more bytes than there are.
    ended: bool,
    /// True if much was skipped as padding.
    padded: bool,
    /// True if data that is no padding is left behind the last block.
    left_over: bool,
}

impl<'a> Session<'a> {
    fn new(bytes: &'a [u8], memory: u64) -> Self {
        // SAFETY: all parts are C structures, for which zeros are a valid value, except
        // `state`, which is written before it is read.
        let mut parts: Box<Parts> = unsafe { Box::new(mem::zeroed()) };
        parts.state = State {
            bytes,
            ended: false,
            padded: false,
            left_over: false,
        };
        parts.source = ffi::jpeg_source_mgr {
            next_input_byte: bytes.as_ptr(),
            bytes_in_buffer: bytes.len(),
            init_source: Some(nothing),
            fill_input_buffer: Some(fill_input_buffer),
            skip_input_data: Some(skip_input_data),
            resync_to_restart: Some(ffi::jpeg_resync_to_restart),
            term_source: Some(nothing),
        };
        let parts = Box::into_raw(parts);
        // SAFETY: `parts` stays where it is until `drop`, and these are its only users. The
        // version and the size are those of the structure that is passed.
        unsafe {
            ffi::jpeg_std_error(&mut (*parts).errors);
            (*parts).errors.error_exit = Some(error_exit);
            (*parts).errors.emit_message = Some(emit_message);
            (*parts).decoder.common.err = &raw mut (*parts).errors;
            ffi::jpeg_CreateDecompress(
                &raw mut (*parts).decoder,
                ffi::JPEG_LIB_VERSION,
                mem::size_of::<ffi::jpeg_decompress_struct>(),
            );
            (*parts).decoder.common.client_data = (&raw mut (*parts).state).cast();
            (*parts).decoder.src = &raw mut (*parts).source;
            (*(*parts).decoder.common.mem).max_memory_to_use =
                c_long::try_from(memory).unwrap_or(c_long::MAX);
        }
        Self {
            parts: NonNull::new(parts).expect("a box has an address"),
            bytes: PhantomData,
        }
    }

    /// Calls libjpeg-turbo. Its errors and warnings come as a flaw.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut ffi::jpeg_decompress_struct) -> T,
    ) -> Result<T, Flaw> {
        // SAFETY: nobody else has a reference to the decoder. After an error, it is only
        // asked for its state and destroyed, which libjpeg-turbo allows.
        let decoder = unsafe { &mut (*self.parts.as_ptr()).decoder };
        catch_unwind(AssertUnwindSafe(|| call(decoder))).map_err(|panic| {
            match panic.downcast::<Flaw>() {
                Ok(flaw) => *flaw,
                Err(panic) => resume_unwind(panic),
            }
        })
    }

    fn state(&self) -> &State {
        // SAFETY: the state changes only while libjpeg-turbo is called.
        unsafe { &(*self.parts.as_ptr()).state }
    }

    /// Reads up to the first row, which is all scans if there are several.
    fn start(&mut self, header: &Header, stored: Option<Stored>) -> Result<(), Flaw> {
        let channels = header.frame.components.len();
        let found = self.call(|decoder| {
            // SAFETY: the source and the error handlers are set.
            unsafe { ffi::jpeg_read_header(decoder, 1) };
            if let Some(stored) = stored {
                decoder.jpeg_color_space = match stored {
                    Stored::Grey => ffi::JCS_GRAYSCALE,
                    Stored::Rgb => ffi::JCS_RGB,
                    Stored::YCbCr => ffi::JCS_YCbCr,
                };
            }
            decoder.out_color_space = match channels {
                1 => ffi::JCS_GRAYSCALE,
                3 => ffi::JCS_RGB,
                _ => ffi::JCS_CMYK,
            };
            // SAFETY: the header was read.
            unsafe { ffi::jpeg_start_decompress(decoder) };
            let size = (decoder.output_width, decoder.output_height);
            (size, decoder.num_components as usize)
        })?;
        let (width, height) = (header.frame.width.into(), header.frame.height.into());
        if found != ((width, height), channels) {
            return Err(Flaw::damaged("two frame headers"));
        }
        Ok(())
    }

    fn read_rows(
        &mut self,
        header: &Header,
        cmyk_to_rgb: impl Fn(&[u8], &mut [u8]),
        pixels: &mut [u8],
    ) -> Result<(), Flaw> {
        let width = usize::from(header.frame.width);
        let (stored, wanted) = match header.frame.components.len() {
            1 => (1, 1),
            3 => (3, 3),
            _ => (4, 3),
        };
        let mut cmyk = vec![0; if stored == 4 { ROWS * width * 4 } else { 0 }];
        let mut rest = pixels;
        while !rest.is_empty() {
            let most = ROWS.min(rest.len() / (width * wanted));
            let rows = if stored == 4 {
                &mut cmyk[..]
            } else {
                &mut *rest
            };
            let mut starts = [std::ptr::null_mut(); ROWS];
            for (start, row) in starts
                .iter_mut()
                .zip(rows.chunks_exact_mut(width * stored))
                .take(most)
            {
                *start = row.as_mut_ptr();
            }
            let read = self.call(|decoder| {
                // SAFETY: `starts` has `most` addresses of rows, of as many bytes each as
                // the decoder writes: it was started for this width and these channels.
                unsafe { ffi::jpeg_read_scanlines(decoder, starts.as_mut_ptr(), most as c_uint) }
            })? as usize;
            if read == 0 {
                return Err(Flaw::damaged("no more rows"));
            }
            let (done, next) = rest.split_at_mut(read * width * wanted);
            if stored == 4 {
                cmyk_to_rgb(&cmyk[..read * width * 4], done);
            }
            rest = next;
        }
        Ok(())
    }

    /// Whether the scans that were read make up the picture. Where the end marker is missing, or
    /// comes behind padding, which may be the place of missing scans, every bit of every
    /// coefficient must be there. Elsewhere an encoder may have left out coefficients that are
    /// zero everywhere, but no component.
    fn check_scans(&self, header: &Header) -> Result<(), Flaw> {
        let components = header.frame.components.len();
        let &State { ended, padded, .. } = self.state();
        // SAFETY: the decoder has this many components. It notes the quantization table of
        // each when its first scan starts. For a progressive picture it keeps the number of
        // bits to come for each of 64 coefficients of each component, or -1.
        let whole = unsafe {
            let decoder = &(*self.parts.as_ptr()).decoder;
            let infos = std::slice::from_raw_parts(decoder.comp_info, components);
            let seen = infos.iter().all(|info| !info.quant_table.is_null());
            if decoder.coef_bits.is_null() {
                seen
            } else {
                let bits = decoder.coef_bits.cast::<[c_int; 64]>();
                let mut bits = std::slice::from_raw_parts(bits, components).iter();
                let complete = |bits: &[c_int; 64]| match ended || padded {
                    true => bits.iter().all(|&missing| missing == 0),
                    false => bits[0] >= 0,
                };
                seen && bits.all(complete)
            }
        };
        match (whole, ended) {
            (true, _) => Ok(()),
            (false, true) => Err(Flaw::truncated("before the last scan")),
            (false, false) => Err(Flaw::damaged(
                "the end marker comes before the picture's end",
            )),
        }
    }

    /// Reads what follows the only scan. Nothing in it matters, except data that the picture's
    /// blocks should have used up: they were misread then.
    fn check_rest(&mut self) -> Result<(), Flaw> {
        // SAFETY: all rows were read.
        let flaw = self.call(|decoder| unsafe { ffi::jpeg_finish_decompress(decoder) });
        match flaw {
            Err(flaw) if self.state().left_over => Err(flaw),
            _ => Ok(()),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // SAFETY: the parts came from a box, and this is the last use of them.
        unsafe {
            ffi::jpeg_destroy_decompress(&mut (*self.parts.as_ptr()).decoder);
            drop(Box::from_raw(self.parts.as_ptr()));
        }
    }
}

/// The state of the file that `common` decodes.
///
/// # Safety
///
/// `common` must belong to a [`Session`] that outlives the reference, and nobody else may have
/// a reference to its state.
unsafe fn state_of<'s>(common: &ffi::jpeg_common_struct) -> &'s mut State {
    // SAFETY: a session sets `client_data` to its state, which lives as long as it.
    unsafe { &mut *common.client_data.cast::<State>() }
}

unsafe extern "C-unwind" fn nothing(_: &mut ffi::jpeg_decompress_struct) {}

/// Called where the bytes end.
unsafe extern "C-unwind" fn fill_input_buffer(decoder: &mut ffi::jpeg_decompress_struct) -> c_int {
    // SAFETY: the decoder and its source belong to a session.
    unsafe {
        state_of(&decoder.common).ended = true;
        (*decoder.src).next_input_byte = END.as_ptr();
        (*decoder.src).bytes_in_buffer = END.len();
    }
    1
}

unsafe extern "C-unwind" fn skip_input_data(
    decoder: &mut ffi::jpeg_decompress_struct,
    count: c_long,
) {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the decoder and its source belong to a session, and the pointer moves by no
    // more bytes than there are.
    unsafe {
        let source = &mut *decoder.src;
        if count > source.bytes_in_buffer {
            fill_input_buffer(decoder);
        } else {
            source.next_input_byte = source.next_input_byte.add(count);
            source.bytes_in_buffer -= count;
        }
    }
}

/// Called for an error. It may not return, so that it unwinds to [`Session::call`].
unsafe extern "C-unwind" fn error_exit(common: &mut ffi::jpeg_common_struct) {
    // SAFETY: only sessions have this handler.
    let (code, ended) = unsafe { ((*common.err).msg_code, state_of(common).ended) };
    let flaw = match code {
        ffi::JERR_FRACT_SAMPLE_NOTIMPL => {
            Flaw::unsupported("JPEG with components whose sizes have no whole ratio")
        }
        ffi::JERR_CONVERSION_NOTIMPL | ffi::JERR_CCIR601_NOTIMPL => {
            Flaw::unsupported("JPEG of these colours")
        }
        ffi::JERR_OUT_OF_MEMORY | ffi::JERR_NO_BACKING_STORE => {
            Flaw::unsupported("JPEG that takes more memory than the limit")
        }
        _ if ended => Flaw::truncated("within a marker segment"),
        // SAFETY: as above.
        _ => Flaw::Damaged(unsafe { message(common) }.into()),
    };
    resume_unwind(Box::new(flaw));
}

/// Called for a warning (with level −1) and for what may interest a programmer.
unsafe extern "C-unwind" fn emit_message(common: &mut ffi::jpeg_common_struct, level: c_int) {
    if level >= 0 {
        return;
    }
    // SAFETY: only sessions have this handler, and all of their structures are decoders.
    let (code, state) = unsafe { ((*common.err).msg_code, state_of(common)) };
    let flaw = match code {
        // What is unusual, and read as every decoder reads it.
        ffi::JWRN_JFIF_MAJOR | ffi::JWRN_ADOBE_XFORM | ffi::JWRN_NOT_SEQUENTIAL => return,
        ffi::JWRN_EXTRANEOUS_DATA => {
            // SAFETY: as above. The first parameter of the message is the number of bytes
            // that were skipped, and the source stands behind the last of them.
            let (skipped, next, bytes) = unsafe {
                let decoder = (&raw mut *common).cast::<ffi::jpeg_decompress_struct>();
                let skipped = (*(*common.err).msg_parm.i())[0];
                (skipped, (*(*decoder).src).next_input_byte, &*state.bytes)
            };
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let end = match state.ended {
                true => bytes.len(),
                false => next.addr() - bytes.as_ptr().addr(),
            };
            if filler::is_filler(&bytes[..end], skipped) {
                state.padded |= skipped > filler::FEW;
                return;
            }
            state.left_over = true;
            Flaw::damaged("data is left behind the last block")
        }
        _ if state.ended => Flaw::truncated("the data ends before the picture's last block"),
        // SAFETY: as above.
        _ => Flaw::Damaged(unsafe { message(common) }.into()),
    };
    resume_unwind(Box::new(flaw));
}

/// The current message in libjpeg-turbo's words.
///
/// # Safety
///
/// `common` must have an error manager whose `format_message` is the standard one.
unsafe fn message(common: &mut ffi::jpeg_common_struct) -> String {
    type Declared = unsafe extern "C-unwind" fn(&mut ffi::jpeg_common_struct, &[u8; 80]);
    type Format = unsafe extern "C-unwind" fn(&mut ffi::jpeg_common_struct, &mut [u8; 80]);
    let mut text = [0; 80];
    // SAFETY: the function writes to its second parameter, at most 80 bytes, although it is
    // declared with a shared reference.
    unsafe {
        if let Some(format) = (*common.err).format_message {
            mem::transmute::<Declared, Format>(format)(common, &mut text);
        }
    }
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let text = text.trim_start_matches("Corrupt JPEG data: ");
    text[..1.min(text.len())].to_lowercase() + &text[1.min(text.len())..]
}
