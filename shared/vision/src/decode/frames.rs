//! Checks GIF and WebP files before their first frame is decoded: how many frames there are,
//! and whether the file ends early. Only the containers are read.

use maskline_messages::Reason;

use super::bytes::{ByteReader, truncated};

/// Refuses more than one frame.
pub fn animated(frames: u32) -> Result<(), Reason> {
    if frames > 1 {
        return Err(Reason::Animated { frames });
    }
    Ok(())
}

/// Checks the blocks of a GIF (GIF89a). Blocks that are images count as frames.
pub fn check_gif(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = ByteReader(bytes);
    let mut gif = Gif::default();
    let ended = gif_blocks(&mut rest, &mut gif).is_some();
    animated(gif.frames)?;
    if gif.frames == 0 && !ended {
        return Err(truncated("before the first frame's last byte"));
    }
    if gif.reaches_beyond || (gif.leaves_open && !gif.is_clear) {
        return Err(Reason::Unsupported {
            format: "GIF with a frame of another size than the picture".to_owned(),
        });
    }
    Ok(())
}

/// What the blocks of a GIF say.
#[derive(Default)]
struct Gif {
    /// The number of whole images.
    frames: u32,
    /// True if an index is transparent.
    is_clear: bool,
    /// True if an image does not fill the picture. Without a transparent index, browsers show
    /// nothing there, and others the background.
    leaves_open: bool,
    /// True if an image is not all in the picture. Some programs enlarge the picture, and some
    /// cut the image.
    reaches_beyond: bool,
}

/// Reads the blocks up to the trailer. It returns `None` if the file ends before the trailer.
fn gif_blocks(rest: &mut ByteReader, gif: &mut Gif) -> Option<()> {
    let screen = rest.bytes(13)?;
    rest.bytes(color_table(screen[10]))?;
    loop {
        match rest.byte()? {
            // An extension is a label and sub-blocks.
            0x21 => {
                let is_graphic_control = rest.byte()? == 0xF9;
                gif.is_clear |= is_graphic_control && rest.0.get(1)? & 1 == 1;
                sub_blocks(rest)?;
            }
            // An image is a descriptor, perhaps a colour table, the LZW code size and
            // sub-blocks.
            0x2C => {
                let descriptor = rest.bytes(9)?;
                let word = |bytes: &[u8], at| u32::from(bytes[at]) | u32::from(bytes[at + 1]) << 8;
                // First come the left and the upper edge, then width and height.
                for side in [0, 2] {
                    let (start, length) = (word(descriptor, side), word(descriptor, 4 + side));
                    let whole = word(screen, 6 + side);
                    gif.leaves_open |= length < whole;
                    gif.reaches_beyond |= start + length > whole;
                }
                rest.bytes(color_table(descriptor[8]))?;
                rest.byte()?;
                sub_blocks(rest)?;
                gif.frames += 1;
            }
            // The trailer, or a byte that no block begins with.
            _ => return Some(()),
        }
    }
}

fn color_table(flags: u8) -> usize {
    if flags & 0x80 == 0 {
        0
    } else {
        3 << ((flags & 7) + 1)
    }
}

fn sub_blocks(rest: &mut ByteReader) -> Option<()> {
    loop {
        match rest.byte()? {
            0 => return Some(()),
            length => rest.bytes(length.into())?,
        };
    }
}

/// Checks the chunks of a WebP, a RIFF file, whose header says that the picture has this size.
/// Chunks of type ANMF are frames.
pub fn check_webp(bytes: &[u8], size: (u32, u32)) -> Result<(), Reason> {
    let length = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let mut rest = ByteReader(bytes);
    let Some(head) = rest.bytes(12) else {
        return Err(truncated("within the header"));
    };
    let announced = u64::from(length(&head[4..8])) + 8;
    if announced > bytes.len() as u64 {
        return Err(truncated(format!("{} of {announced} bytes", bytes.len())));
    }
    let (mut frames, mut lossy) = (0, None);
    while let Some(chunk) = rest.bytes(8) {
        let (kind, data_size) = (&chunk[..4], length(&chunk[4..]) as usize);
        frames += u32::from(kind == b"ANMF");
        // Chunks begin at even offsets.
        let Some(data) = rest.bytes(data_size.saturating_add(data_size % 2)) else {
            break;
        };
        if kind == b"VP8 " {
            lossy = lossy.or(vp8_size(data));
        }
    }
    animated(frames)?;
    // The decoder finds this out only when it has decoded the frame.
    if let Some(frame) = lossy.filter(|frame| *frame != size) {
        return Err(Reason::Undecodable {
            detail: format!("a frame of {frame:?} pixels in a picture of {size:?}"),
        });
    }
    Ok(())
}

/// Width and height of a lossy frame (RFC 6386, 9.1).
fn vp8_size(data: &[u8]) -> Option<(u32, u32)> {
    let &[a, b, c, d] = data.get(6..10)?.first_chunk()?;
    let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((side(a, b), side(c, d)))
}
