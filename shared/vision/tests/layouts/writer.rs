//! Writes a scene as a JPEG of any layout (ITU-T T.81).

use super::scene::Channels;

/// How the components are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Process {
    Baseline,
    Extended,
    Progressive,
}

/// A scan: the components and the part of their coefficients that it codes. A sequential
/// scan codes all of them.
#[derive(Debug, Clone)]
pub struct Scan {
    pub components: Vec<usize>,
    /// The first and the last coefficient.
    pub band: (usize, usize),
    /// The lowest bit that earlier scans coded, or 0, and the lowest that this one codes.
    pub bits: (u32, u32),
}

impl Scan {
    pub fn sequential(components: &[usize]) -> Self {
        Self {
            components: components.to_vec(),
            band: (0, 63),
            bits: (0, 0),
        }
    }

    pub fn progressive(components: &[usize], band: (usize, usize), bits: (u32, u32)) -> Self {
        Self {
            components: components.to_vec(),
            band,
            bits,
        }
    }
}

/// The layout of a file.
#[derive(Debug, Clone)]
pub struct Layout {
    pub width: usize,
    pub height: usize,
    pub channels: Channels,
    pub process: Process,
    /// The sampling factors of each component.
    pub sampling: Vec<(usize, usize)>,
    pub scans: Vec<Scan>,
    /// The minimum coded units between two restart markers, or 0.
    pub restart: usize,
    /// Segments before the quantization table.
    pub segments: Vec<u8>,
}

/// The quantization step of all coefficients.
const STEP: f64 = 3.0;

/// The coefficients of a component, in zigzag order, for the blocks of whole MCUs.
struct Plane {
    blocks: Vec<[i32; 64]>,
    /// The blocks side by side in whole MCUs.
    across: usize,
    /// The blocks that a scan of the component alone has, side by side and in all rows.
    own: (usize, usize),
}

impl Layout {
    /// A picture in one scan of all components.
    pub fn interleaved(channels: Channels, sampling: &[(usize, usize)]) -> Self {
        let all: Vec<_> = (0..sampling.len()).collect();
        Self {
            width: 83,
            height: 59,
            channels,
            process: Process::Baseline,
            sampling: sampling.to_vec(),
            scans: vec![Scan::sequential(&all)],
            restart: 0,
            segments: channels.segments(),
        }
    }

    /// The largest horizontal and the largest vertical sampling factor.
    pub fn largest(&self) -> (usize, usize) {
        let most = |factor: fn(&(usize, usize)) -> usize| {
            self.sampling.iter().map(factor).max().expect("a component")
        };
        (most(|s| s.0), most(|s| s.1))
    }

    /// The file.
    pub fn write(&self) -> Vec<u8> {
        let mut file = vec![0xFF, 0xD8];
        file.extend(&self.segments);
        segment(&mut file, 0xDB, &[&[0][..], &[STEP as u8; 64]].concat());
        let frame = match self.process {
            Process::Baseline => 0xC0,
            Process::Extended => 0xC1,
            Process::Progressive => 0xC2,
        };
        segment(&mut file, frame, &self.frame());
        // Twelve codes of four bits for the sizes of DC coefficients, and 256 for AC
        // coefficients: 254 of eight bits, two of nine.
        let dc = [
            &[0x00, 0, 0, 0, 12][..],
            &[0; 12],
            &(0..12).collect::<Vec<u8>>(),
        ]
        .concat();
        segment(&mut file, 0xC4, &dc);
        let ac = [
            &[0x10, 0, 0, 0, 0, 0, 0, 0, 254, 2][..],
            &[0; 7],
            &(0..=255).collect::<Vec<u8>>(),
        ];
        segment(&mut file, 0xC4, &ac.concat());
        if self.restart > 0 {
            segment(&mut file, 0xDD, &(self.restart as u16).to_be_bytes());
        }
        let planes: Vec<_> = (0..self.sampling.len()).map(|c| self.plane(c)).collect();
        for scan in &self.scans {
            self.write_scan(&mut file, scan, &planes);
        }
        file.extend([0xFF, 0xD9]);
        file
    }

    /// The data of the frame header.
    fn frame(&self) -> Vec<u8> {
        let mut frame = vec![8];
        frame.extend((self.height as u16).to_be_bytes());
        frame.extend((self.width as u16).to_be_bytes());
        frame.push(self.sampling.len() as u8);
        let ids = self.channels.ids();
        for (id, (horizontal, vertical)) in ids.iter().zip(&self.sampling) {
            frame.extend([*id, (horizontal << 4 | vertical) as u8, 0]);
        }
        frame
    }

    fn plane(&self, component: usize) -> Plane {
        let (columns, rows) = self.largest();
        let (horizontal, vertical) = self.sampling[component];
        let across = self.width.div_ceil(8 * columns) * horizontal;
        let down = self.height.div_ceil(8 * rows) * vertical;
        let own = (
            (self.width * horizontal).div_ceil(columns).div_ceil(8),
            (self.height * vertical).div_ceil(rows).div_ceil(8),
        );
        // The middle of a sample, in parts of the picture.
        let x_of = |x: usize| (x as f64 + 0.5) * columns as f64 / horizontal as f64;
        let y_of = |y: usize| (y as f64 + 0.5) * rows as f64 / vertical as f64;
        let mut blocks = Vec::with_capacity(across * down);
        for block_y in 0..down {
            for block_x in 0..across {
                let mut samples = [[0.0; 8]; 8];
                for (y, row) in samples.iter_mut().enumerate() {
                    for (x, sample) in row.iter_mut().enumerate() {
                        let x = x_of(block_x * 8 + x) / self.width as f64;
                        let y = y_of(block_y * 8 + y) / self.height as f64;
                        *sample = self.channels.at(x, y)[component] - 128.0;
                    }
                }
                blocks.push(coefficients(&samples));
            }
        }
        Plane {
            blocks,
            across,
            own,
        }
    }

    fn write_scan(&self, file: &mut Vec<u8>, scan: &Scan, planes: &[Plane]) {
        let mut header = vec![scan.components.len() as u8];
        let ids = self.channels.ids();
        scan.components
            .iter()
            .for_each(|c| header.extend([ids[*c], 0]));
        let (first, last) = scan.band;
        let (high, low) = scan.bits;
        header.extend([first as u8, last as u8, (high << 4 | low) as u8]);
        segment(file, 0xDA, &header);

        let mut bits = Bits::new(file);
        let mut levels = vec![0; planes.len()];
        for (number, unit) in self.units(scan, planes).iter().enumerate() {
            if self.restart > 0 && number > 0 && number % self.restart == 0 {
                bits.end();
                bits.file
                    .extend([0xFF, 0xD0 + ((number / self.restart - 1) % 8) as u8]);
                levels.fill(0);
            }
            for &(component, block) in unit {
                let block = &planes[component].blocks[block];
                if self.process == Process::Progressive {
                    progressive(&mut bits, scan, block, &mut levels[component]);
                } else {
                    dc(&mut bits, block[0], &mut levels[component]);
                    band(&mut bits, block, (1, 63), 0);
                }
            }
        }
        bits.end();
    }

    /// The minimum coded units of a scan, each a list of components and blocks.
    fn units(&self, scan: &Scan, planes: &[Plane]) -> Vec<Vec<(usize, usize)>> {
        if let &[alone] = &scan.components[..] {
            let plane = &planes[alone];
            let (across, down) = plane.own;
            let blocks = (0..across * down).map(|at| at / across * plane.across + at % across);
            return blocks.map(|block| vec![(alone, block)]).collect();
        }
        let (columns, rows) = self.largest();
        let (across, down) = (
            self.width.div_ceil(8 * columns),
            self.height.div_ceil(8 * rows),
        );
        let mut units = vec![];
        for at in 0..across * down {
            let mut unit = vec![];
            for &component in &scan.components {
                let (horizontal, vertical) = self.sampling[component];
                for block in 0..horizontal * vertical {
                    let y = at / across * vertical + block / horizontal;
                    let x = at % across * horizontal + block % horizontal;
                    unit.push((component, y * planes[component].across + x));
                }
            }
            units.push(unit);
        }
        units
    }
}

/// Writes a segment with its length.
pub fn segment(file: &mut Vec<u8>, marker: u8, data: &[u8]) {
    file.extend([0xFF, marker]);
    file.extend((data.len() as u16 + 2).to_be_bytes());
    file.extend(data);
}

/// The quantized coefficients of a block in zigzag order.
fn coefficients(samples: &[[f64; 8]; 8]) -> [i32; 64] {
    let transformed = |row: &[f64; 8]| -> [f64; 8] {
        std::array::from_fn(|u| {
            let scale = if u == 0 { 0.125_f64.sqrt() } else { 0.5 };
            let wave =
                |x: usize| ((2 * x + 1) as f64 * u as f64 * std::f64::consts::PI / 16.0).cos();
            scale * (0..8).map(|x| row[x] * wave(x)).sum::<f64>()
        })
    };
    let rows = samples.map(|row| transformed(&row));
    // columns[u][v] is the coefficient of frequency u across and v down.
    let columns: [[f64; 8]; 8] =
        std::array::from_fn(|u| transformed(&std::array::from_fn(|y| rows[y][u])));
    let mut zigzag: Vec<_> = (0..64).map(|at| (at % 8, at / 8)).collect();
    zigzag.sort_by_key(|&(u, v)| (u + v, if (u + v) % 2 == 0 { u } else { v }));
    std::array::from_fn(|at| {
        let (u, v): (usize, usize) = zigzag[at];
        (columns[u][v] / STEP).round() as i32
    })
}

/// Writes entropy-coded data.
struct Bits<'a> {
    file: &'a mut Vec<u8>,
    byte: u8,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(file: &'a mut Vec<u8>) -> Self {
        Self {
            file,
            byte: 0,
            count: 0,
        }
    }

    fn put(&mut self, value: u32, count: u32) {
        for bit in (0..count).rev() {
            self.byte = self.byte << 1 | (value >> bit & 1) as u8;
            self.count += 1;
            if self.count == 8 {
                self.file.push(self.byte);
                if self.byte == 0xFF {
                    self.file.push(0);
                }
                self.count = 0;
            }
        }
    }

    /// Fills the last byte with ones.
    fn end(&mut self) {
        while self.count > 0 {
            self.put(1, 1);
        }
    }

    /// Writes a symbol of AC coefficients.
    fn symbol(&mut self, run: u32, size: u32) {
        match run << 4 | size {
            symbol @ 0..254 => self.put(symbol, 8),
            symbol => self.put(254 * 2 + (symbol - 254), 9),
        }
    }

    /// Writes the bits of a value of this size. Negative values are one less than their
    /// last bits.
    fn value(&mut self, value: i32, size: u32) {
        let value = if value < 0 { value - 1 } else { value };
        self.put(value as u32 & ((1 << size) - 1), size);
    }
}

/// The number of bits of a value.
fn size(value: i32) -> u32 {
    32 - value.unsigned_abs().leading_zeros()
}

fn dc(bits: &mut Bits, level: i32, last: &mut i32) {
    let difference = level - *last;
    *last = level;
    bits.put(size(difference), 4);
    bits.value(difference, size(difference));
}

/// Writes a band of AC coefficients down to bit `low`.
fn band(bits: &mut Bits, block: &[i32; 64], (first, last): (usize, usize), low: u32) {
    let mut zeros = 0;
    for &coefficient in &block[first..=last] {
        let value = (coefficient.abs() >> low) * coefficient.signum();
        if value == 0 {
            zeros += 1;
            continue;
        }
        while zeros > 15 {
            bits.symbol(15, 0);
            zeros -= 16;
        }
        bits.symbol(zeros, size(value));
        bits.value(value, size(value));
        zeros = 0;
    }
    if zeros > 0 {
        bits.symbol(0, 0);
    }
}

fn progressive(bits: &mut Bits, scan: &Scan, block: &[i32; 64], level: &mut i32) {
    match (scan.band, scan.bits) {
        ((0, 0), (0, low)) => dc(bits, block[0] >> low, level),
        ((0, 0), (_, low)) => bits.put((block[0] >> low & 1) as u32, 1),
        (coefficients, (0, low)) => band(bits, block, coefficients, low),
        (coefficients, (_, low)) => refinement(bits, block, coefficients, low),
    }
}

/// Writes one more bit of a band of AC coefficients (T.81, G.1.2.3).
fn refinement(bits: &mut Bits, block: &[i32; 64], (first, last): (usize, usize), low: u32) {
    let size_of = |at: usize| block[at].abs() >> low;
    let newest = (first..=last)
        .rev()
        .find(|&at| size_of(at) == 1)
        .unwrap_or(0);
    let mut zeros = 0;
    let mut corrections: Vec<u32> = vec![];
    let correct = |bits: &mut Bits, corrections: &mut Vec<u32>| {
        corrections.drain(..).for_each(|bit| bits.put(bit, 1));
    };
    for (at, &value) in block.iter().enumerate().take(last + 1).skip(first) {
        if size_of(at) == 0 {
            zeros += 1;
            continue;
        }
        while zeros > 15 && at <= newest {
            bits.symbol(15, 0);
            correct(bits, &mut corrections);
            zeros -= 16;
        }
        if size_of(at) > 1 {
            corrections.push(size_of(at) as u32 & 1);
            continue;
        }
        bits.symbol(zeros, 1);
        bits.put((value > 0).into(), 1);
        correct(bits, &mut corrections);
        zeros = 0;
    }
    if zeros > 0 || !corrections.is_empty() {
        bits.symbol(0, 0);
        correct(bits, &mut corrections);
    }
}
