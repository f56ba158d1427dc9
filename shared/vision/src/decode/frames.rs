//! Checks GIF, PNG and WebP files before their first frame is decoded: how many frames
//! there are, and whether the file ends early. Only the containers are read.

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

/// Reads bytes from the front. Its functions return `None` if there are too few.
struct ByteReader<'a>(&'a [u8]);

impl<'a> ByteReader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }
}

/// Checks the blocks of a GIF (GIF89a). Blocks that are images count as frames.
pub fn check_gif(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = ByteReader(bytes);
    let mut frames = 0;
    let ended = gif_blocks(&mut rest, &mut frames).is_some();
    animated(frames)?;
    if frames == 0 && !ended {
        return Err(truncated("before the first frame's last byte"));
    }
    Ok(())
}

/// Counts whole images up to the trailer. It returns `None` if the file ends before the
/// trailer.
fn gif_blocks(rest: &mut ByteReader, frames: &mut u32) -> Option<()> {
    let screen = rest.bytes(13)?;
    rest.bytes(color_table(screen[10]))?;
    loop {
        match rest.byte()? {
            // An extension is a label and sub-blocks.
            0x21 => {
                rest.byte()?;
                sub_blocks(rest)?;
            }
            // An image is a descriptor, perhaps a colour table, the LZW code size and
            // sub-blocks.
            0x2C => {
                let descriptor = rest.bytes(9)?;
                rest.bytes(color_table(descriptor[8]))?;
                rest.byte()?;
                sub_blocks(rest)?;
                *frames += 1;
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

/// Width and height of a PNG, which its first chunk begins with.
pub fn png_size(bytes: &[u8]) -> Result<(u32, u32), Reason> {
    let Some(&[a, b, c, d, e, f, g, h]) = bytes.get(16..24) else {
        return Err(truncated("within the header"));
    };
    Ok((
        u32::from_be_bytes([a, b, c, d]),
        u32::from_be_bytes([e, f, g, h]),
    ))
}

/// Checks the chunks of a PNG or APNG: length, type, data, checksum.
pub fn check_png(bytes: &[u8]) -> Result<(), Reason> {
    let mut rest = ByteReader(&bytes[8..]);
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
    // The end chunk is missing, but all pixels may be there. The decoder decides.
    Ok(())
}

/// Checks the chunks of a WebP, a RIFF file. Chunks of type ANMF are frames.
pub fn check_webp(bytes: &[u8]) -> Result<(), Reason> {
    let length = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
    let mut rest = ByteReader(bytes);
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
        // Chunks begin at even offsets.
        if rest.bytes(size.saturating_add(size % 2)).is_none() {
            break;
        }
    }
    animated(frames)
}
