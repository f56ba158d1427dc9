//! What must be known of a file as a whole before its first frame is taken for
//! the picture: how many frames it has, and whether it ends early. Read from the
//! containers alone.

use maskline_messages::Reason;

fn animated(frames: u32) -> Result<(), Reason> {
    if frames > 1 {
        return Err(Reason::Animated { frames });
    }
    Ok(())
}

fn truncated(detail: impl Into<String>) -> Reason {
    Reason::Truncated {
        detail: detail.into(),
    }
}

/// Bytes that are taken from the front; `None` when there are fewer.
struct Taken<'a>(&'a [u8]);

impl<'a> Taken<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }
}

/// GIF89a: blocks, of which images count.
pub fn check_gif(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = Taken(bytes);
    let mut frames = 0;
    let ended = gif_blocks(&mut rest, &mut frames).is_some();
    animated(frames)?;
    if frames == 0 && !ended {
        return Err(truncated("before the first frame's last byte"));
    }
    Ok(())
}

/// Counts whole images up to the trailer; `None` when the file ends before it.
fn gif_blocks(rest: &mut Taken, frames: &mut u32) -> Option<()> {
    let screen = rest.bytes(13)?;
    rest.bytes(color_table(screen[10]))?;
    loop {
        match rest.byte()? {
            // An extension: its label, then sub-blocks.
            0x21 => {
                rest.byte()?;
                sub_blocks(rest)?;
            }
            // An image: its descriptor, perhaps colours, the LZW size, sub-blocks.
            0x2C => {
                let descriptor = rest.bytes(9)?;
                rest.bytes(color_table(descriptor[8]))?;
                rest.byte()?;
                sub_blocks(rest)?;
                *frames += 1;
            }
            // The trailer, or nothing that GIF knows.
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

fn sub_blocks(rest: &mut Taken) -> Option<()> {
    loop {
        match rest.byte()? {
            0 => return Some(()),
            length => rest.bytes(length.into())?,
        };
    }
}

/// Width and height, which the first chunk of a PNG begins with.
pub fn png_size(bytes: &[u8]) -> Result<(u32, u32), Reason> {
    let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) else {
        return Err(truncated("within the header"));
    };
    Ok((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

/// PNG (and APNG): chunks of length, type, data, checksum.
pub fn check_png(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = Taken(&bytes[8..]);
    while let Some(head) = rest.bytes(8) {
        let (length, kind) = head.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        if kind == b"IEND" {
            return Ok(());
        }
        let Some(data) = rest
            .bytes(length as usize)
            .filter(|_| rest.bytes(4).is_some())
        else {
            let kind = kind.escape_ascii();
            return Err(truncated(format!(
                "within a chunk {kind} of {length} bytes"
            )));
        };
        if kind == b"acTL" && data.len() >= 4 {
            animated(u32::from_be_bytes(
                data[..4].try_into().expect("four bytes"),
            ))?;
        }
    }
    // Without an end chunk, but perhaps with all pixels: that is the decoder's to say.
    Ok(())
}

/// WebP: a RIFF file, in which every animation frame is a chunk ANMF.
pub fn check_webp(bytes: &[u8]) -> Result<(), Reason> {
    let length = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let mut rest = Taken(bytes);
    let Some(head) = rest.bytes(12) else {
        return Err(truncated("within the header"));
    };
    let announced = u64::from(length(&head[4..8])) + 8;
    if announced > bytes.len() as u64 {
        return Err(truncated(format!("{} of {announced} bytes", bytes.len())));
    }
    let mut frames = 0;
    while let Some(chunk) = rest.bytes(8) {
        let size = length(&chunk[4..]) as usize;
        frames += u32::from(&chunk[..4] == b"ANMF");
        // Chunks begin at even places.
        if rest.bytes(size.saturating_add(size % 2)).is_none() {
            break;
        }
    }
    animated(frames)
}
