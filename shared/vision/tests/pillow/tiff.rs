//! Writes a picture as a TIFF of any layout (TIFF 6.0).

use image::RgbImage;

/// The layout of a file.
#[derive(Debug, Clone, Default)]
pub struct Tiff {
    pub big_endian: bool,
    /// Offsets and counts of 64 bits.
    pub big: bool,
    /// What the samples mean: 0 and 1 for grey (0 is white or black), 2 for RGB, 3 for a
    /// palette, 5 for CMYK.
    pub colors: u16,
    /// Deflate each strip or tile.
    pub deflated: bool,
    /// Width and height of the tiles. Without it there are strips of 16 rows.
    pub tiles: Option<(u32, u32)>,
    /// Each sample has a plane of its own.
    pub planar: bool,
    /// Where the first row and the first column are, as in EXIF.
    pub orientation: u16,
}

impl Tiff {
    /// The samples of a pixel.
    fn samples(&self, rgb: [u8; 3]) -> Vec<u8> {
        let [r, g, b] = rgb;
        match self.colors {
            0 => vec![255 - g],
            1 => vec![g],
            // The palette has a shade of each channel: three bits, three bits, two bits.
            3 => vec![r & 0xE0 | g >> 3 & 0x1C | b >> 6],
            5 => vec![255 - r, 255 - g, 255 - b, 0],
            _ => rgb.to_vec(),
        }
    }

    pub fn write(&self, picture: &RgbImage) -> Vec<u8> {
        let (width, height) = picture.dimensions();
        let samples = self.samples([0; 3]).len() as u16;
        let (chunk_width, chunk_height) = self.tiles.unwrap_or((width, 16));
        let planes = if self.planar { usize::from(samples) } else { 1 };
        let mut chunks = vec![];
        for plane in 0..planes {
            for top in (0..height).step_by(chunk_height as usize) {
                for left in (0..width).step_by(chunk_width as usize) {
                    // The last strip is shorter. Tiles are whole.
                    let rows = match self.tiles {
                        Some(_) => chunk_height,
                        None => chunk_height.min(height - top),
                    };
                    let mut chunk = vec![];
                    for y in top..top + rows {
                        for x in left..left + chunk_width {
                            let pixel = picture.get_pixel(x.min(width - 1), y.min(height - 1));
                            let all = self.samples(pixel.0);
                            match self.planar {
                                true => chunk.push(all[plane]),
                                false => chunk.extend(all),
                            }
                        }
                    }
                    chunks.push(if self.deflated {
                        deflated(&chunk)
                    } else {
                        chunk
                    });
                }
            }
        }

        let mut file = Writer {
            bytes: vec![],
            big_endian: self.big_endian,
            big: self.big,
        };
        file.bytes
            .extend(if self.big_endian { b"MM" } else { b"II" });
        file.short(if self.big { 43 } else { 42 });
        if self.big {
            file.short(8);
            file.short(0);
        }
        let directory_offset = file.bytes.len();
        file.offset(0);
        let mut offsets = vec![];
        for chunk in &chunks {
            offsets.push(file.bytes.len() as u64);
            file.bytes.extend(chunk);
        }
        let counts: Vec<_> = chunks.iter().map(|chunk| chunk.len() as u64).collect();
        let (offsets_tag, counts_tag) = match self.tiles {
            Some(_) => (324, 325),
            None => (273, 279),
        };
        let mut tags: Vec<(u16, u16, Vec<u64>)> = vec![
            (256, 4, vec![width.into()]),
            (257, 4, vec![height.into()]),
            (258, 3, vec![8; samples.into()]),
            (259, 3, vec![if self.deflated { 8 } else { 1 }]),
            (262, 3, vec![self.colors.into()]),
            (274, 3, vec![self.orientation.max(1).into()]),
            (277, 3, vec![samples.into()]),
            (284, 3, vec![if self.planar { 2 } else { 1 }]),
            (offsets_tag, 4, offsets),
            (counts_tag, 4, counts),
        ];
        match self.tiles {
            Some((width, height)) => {
                tags.push((322, 4, vec![width.into()]));
                tags.push((323, 4, vec![height.into()]));
            }
            None => tags.push((278, 4, vec![chunk_height.into()])),
        }
        if self.colors == 3 {
            let shade = |bits: u64, all: u64| bits * 65_535 / all;
            let reds = (0..256).map(|at| shade(at >> 5, 7));
            let greens = (0..256).map(|at| shade(at >> 2 & 7, 7));
            let blues = (0..256).map(|at| shade(at & 3, 3));
            tags.push((320, 3, reds.chain(greens).chain(blues).collect()));
        }
        tags.sort();
        file.directory(&tags, directory_offset);
        file.bytes
    }
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(vec![], flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Writer {
    bytes: Vec<u8>,
    big_endian: bool,
    big: bool,
}

impl Writer {
    fn number(&mut self, number: u64, bytes: usize) {
        let number = number.to_le_bytes();
        let mut number = number[..bytes].to_vec();
        if self.big_endian {
            number.reverse();
        }
        self.bytes.extend(number);
    }

    fn short(&mut self, number: u16) {
        self.number(number.into(), 2);
    }

    /// An offset or a count.
    fn offset(&mut self, number: u64) {
        self.number(number, if self.big { 8 } else { 4 });
    }

    /// Writes the directory behind the values that do not fit into it, and its offset to the
    /// header.
    fn directory(&mut self, tags: &[(u16, u16, Vec<u64>)], directory_offset: usize) {
        let field = if self.big { 8 } else { 4 };
        let size = |kind: u16| if kind == 3 { 2 } else { 4 };
        let mut places = vec![];
        for (_, kind, values) in tags {
            places.push(self.bytes.len() as u64);
            if values.len() * size(*kind) > field {
                values
                    .iter()
                    .for_each(|value| self.number(*value, size(*kind)));
            }
        }
        let start = self.bytes.len() as u64;
        if self.big {
            self.number(tags.len() as u64, 8);
        } else {
            self.short(tags.len() as u16);
        }
        for ((tag, kind, values), place) in tags.iter().zip(places) {
            self.short(*tag);
            self.short(*kind);
            self.offset(values.len() as u64);
            let end = self.bytes.len() + field;
            if values.len() * size(*kind) > field {
                self.offset(place);
            } else {
                values
                    .iter()
                    .for_each(|value| self.number(*value, size(*kind)));
                self.bytes.resize(end, 0);
            }
        }
        self.offset(0);
        let mut header = Self {
            bytes: vec![],
            ..*self
        };
        header.offset(start);
        self.bytes[directory_offset..directory_offset + field].copy_from_slice(&header.bytes);
    }
}
