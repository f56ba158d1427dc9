//! One scan of a JPEG: its header, and all its blocks, code by code (T.81, B.2.3).
//!
//! A block is 8 × 8 coefficients in zigzag order. Coefficient 0, the DC coefficient, is
//! the block's mean; the others are the AC coefficients. A scan of a progressive
//! picture codes some bits of some coefficients, a sequential scan codes all at once.

use super::{
    bits::Bits, flaw::Flaw, frame::Frame, huffman::HuffmanTable, segments::marker, tables::Tables,
};

/// The largest DC coefficient, in units of 1/8 grey level from middle grey. Pictures
/// need up to ±1024. An encoder may overshoot, but not by as much again.
const MAX_LEVEL: i64 = 2048;

/// A scan header.
pub struct Scan {
    components: Vec<ScanComponent>,
    /// The first coefficient that the scan codes, Ss in T.81.
    first: usize,
    /// The last coefficient that the scan codes, Se in T.81.
    last: usize,
    /// The lowest bit that earlier scans coded, Ah in T.81, or 0 in the first scan of a
    /// coefficient.
    high: u32,
    /// The lowest bit that this scan codes, Al in T.81: so many bits are still to come.
    low: u32,
}

/// A component of a scan, and the Huffman tables that it uses.
struct ScanComponent {
    /// Its index among the frame's components.
    index: usize,
    dc_table: usize,
    ac_table: usize,
}

/// The bits of the coefficients that the scans so far have coded.
pub struct Coverage {
    /// For each component and coefficient, the number of bits still to come, or `None`
    /// before its first scan.
    missing: Vec<[Option<u8>; 64]>,
    /// For each component and block, one bit for each coefficient that is not zero.
    /// Refining scans of progressive pictures need it; sequential pictures have none.
    nonzero: Vec<Vec<u64>>,
}

impl Coverage {
    pub fn new(frame: &Frame) -> Self {
        let blocks = |index| {
            let layout = BlockLayout::of(frame, index);
            if frame.progressive {
                vec![0; layout.stored_across * layout.stored_down]
            } else {
                vec![]
            }
        };
        Self {
            missing: vec![[None; 64]; frame.components.len()],
            nonzero: (0..frame.components.len()).map(blocks).collect(),
        }
    }

    /// True if every bit of every coefficient has been coded.
    pub fn is_whole(&self) -> bool {
        self.missing
            .iter()
            .flatten()
            .all(|missing| *missing == Some(0))
    }
}

/// The number of blocks of a component.
struct BlockLayout {
    /// Blocks in a scan of this component alone.
    across: usize,
    down: usize,
    /// Blocks including those that fill up the last minimum coded units.
    stored_across: usize,
    stored_down: usize,
}

impl BlockLayout {
    fn of(frame: &Frame, index: usize) -> Self {
        let component = &frame.components[index];
        let (most_across, most_down) = (
            frame.largest(|c| c.horizontal),
            frame.largest(|c| c.vertical),
        );
        let blocks = |pixels: usize, factor: usize, most: usize| {
            (pixels * factor).div_ceil(most).div_ceil(8)
        };
        let units = |pixels: usize, most: usize| pixels.div_ceil(8 * most);
        Self {
            across: blocks(frame.width.into(), component.horizontal, most_across),
            down: blocks(frame.height.into(), component.vertical, most_down),
            stored_across: units(frame.width.into(), most_across) * component.horizontal,
            stored_down: units(frame.height.into(), most_down) * component.vertical,
        }
    }
}

impl Scan {
    /// Parses a scan header.
    pub fn parse(data: &[u8], frame: &Frame) -> Result<Self, Flaw> {
        const NONSENSE: Flaw = Flaw::damaged("a scan header that makes no sense");
        let (&count, rest) = data.split_first().ok_or(NONSENSE)?;
        let (selectors, rest) = rest
            .split_at_checked(2 * usize::from(count))
            .ok_or(NONSENSE)?;
        let &[first, last, approximation, ..] = rest else {
            return Err(NONSENSE);
        };
        let component = |&[id, tables]: &[u8; 2]| {
            let index = frame.components.iter().position(|c| c.id == id)?;
            let (dc_table, ac_table) = (usize::from(tables >> 4), usize::from(tables & 15));
            (dc_table < 4 && ac_table < 4).then_some(ScanComponent {
                index,
                dc_table,
                ac_table,
            })
        };
        let components: Option<Vec<_>> = selectors.as_chunks().0.iter().map(component).collect();
        let components = components.ok_or(NONSENSE)?;
        let scan = if frame.progressive {
            Self {
                components,
                first: first.into(),
                last: last.into(),
                high: (approximation >> 4).into(),
                low: (approximation & 15).into(),
            }
        } else {
            // Sequential scans code everything, although some encoders write otherwise.
            Self {
                components,
                first: 0,
                last: 63,
                high: 0,
                low: 0,
            }
        };
        let sane = match (frame.progressive, scan.first) {
            (false, _) => true,
            (true, 0) => scan.last == 0,
            (true, first) => first <= scan.last && scan.last < 64 && scan.components.len() == 1,
        };
        let unit: usize = scan
            .components
            .iter()
            .map(|component| &frame.components[component.index])
            .map(|component| component.horizontal * component.vertical)
            .sum();
        let fits = scan.components.len() == 1 || unit <= 10;
        if !sane || !fits || scan.components.is_empty() || scan.low > 13 {
            return Err(NONSENSE);
        }
        Ok(scan)
    }

    /// Reads the scan's blocks from the front of `data`, and notes in `coverage` what
    /// they code. It returns the bytes that follow the scan.
    pub fn read<'a>(
        &self,
        frame: &Frame,
        tables: &Tables,
        coverage: &mut Coverage,
        data: &'a [u8],
    ) -> Result<&'a [u8], Flaw> {
        let mut decoders = Vec::with_capacity(self.components.len());
        for component in &self.components {
            decoders.push(BlockDecoder::new(self, component, frame, tables)?);
        }
        let (across, down) = match &self.components[..] {
            [alone] => {
                let layout = BlockLayout::of(frame, alone.index);
                (layout.across, layout.down)
            }
            _ => {
                let first = self.components[0].index;
                let (layout, component) = (BlockLayout::of(frame, first), &frame.components[first]);
                (
                    layout.stored_across / component.horizontal,
                    layout.stored_down / component.vertical,
                )
            }
        };
        let interleaved = self.components.len() > 1;
        let mut bits = Bits::new(data);
        let mut until_restart = tables.restart_interval;
        let mut restarts = 0;
        for y in 0..down {
            for x in 0..across {
                if tables.restart_interval > 0 && until_restart == 0 {
                    bits = restart(bits, restarts)?;
                    restarts = (restarts + 1) % 8;
                    decoders.iter_mut().for_each(BlockDecoder::restart);
                    until_restart = tables.restart_interval;
                }
                until_restart = until_restart.saturating_sub(1);
                for decoder in &mut decoders {
                    let (wide, high) = if interleaved {
                        (decoder.horizontal, decoder.vertical)
                    } else {
                        (1, 1)
                    };
                    let nonzero = &mut coverage.nonzero[decoder.index];
                    for row in 0..high {
                        for column in 0..wide {
                            let block =
                                (y * high + row) * decoder.stored_across + x * wide + column;
                            let mut untracked = 0;
                            let nonzero = nonzero.get_mut(block).unwrap_or(&mut untracked);
                            decoder.block(&mut bits, nonzero)?;
                        }
                    }
                }
            }
        }
        // The decoder says whether bytes that lie unread are padding.
        let (_, rest) = bits.end();
        for component in &self.components {
            for missing in &mut coverage.missing[component.index][self.first..=self.last] {
                *missing = Some(self.low as u8);
            }
        }
        Ok(rest)
    }
}

/// Reads the restart marker that must come now, and returns the data behind it.
fn restart(bits: Bits, number: u8) -> Result<Bits, Flaw> {
    let (unread, rest) = bits.end();
    let Some((_, rest)) = rest.split_first() else {
        return Err(Flaw::truncated(
            "the data ends before the picture's last block",
        ));
    };
    match rest.split_first() {
        None => Err(Flaw::truncated(
            "the data ends before the picture's last block",
        )),
        Some((&found, rest)) if found == marker::RST0 + number && unread == 0 => {
            Ok(Bits::new(rest))
        }
        Some(_) => Err(Flaw::damaged("a restart marker is missing")),
    }
}

/// Reads the blocks of one component in one scan.
struct BlockDecoder<'a> {
    index: usize,
    horizontal: usize,
    vertical: usize,
    stored_across: usize,
    /// The table for DC coefficients, if the scan codes their first bits.
    dc: Option<&'a HuffmanTable>,
    /// The table for AC coefficients, if the scan codes some.
    ac: Option<&'a HuffmanTable>,
    progressive: bool,
    first: usize,
    last: usize,
    refines: bool,
    /// The DC coefficient of the last block, in units of `step`.
    level: i64,
    /// One unit of `level` in 1/8 grey levels.
    step: i64,
    /// The number of blocks, from this one on, that have no more coefficients (EOBRUN).
    end_of_band: u32,
}

impl<'a> BlockDecoder<'a> {
    fn new(
        scan: &Scan,
        coded: &ScanComponent,
        frame: &Frame,
        tables: &'a Tables,
    ) -> Result<Self, Flaw> {
        let component = &frame.components[coded.index];
        let refines = scan.high > 0;
        let table = |wanted: bool, table: &'a Option<HuffmanTable>| match (wanted, table) {
            (false, _) => Ok(None),
            (true, Some(table)) => Ok(Some(table)),
            (true, None) => Err(Flaw::damaged("a Huffman table is missing")),
        };
        let step = tables
            .dc_step
            .get(component.quantization)
            .copied()
            .flatten();
        Ok(Self {
            index: coded.index,
            horizontal: component.horizontal,
            vertical: component.vertical,
            stored_across: BlockLayout::of(frame, coded.index).stored_across,
            dc: table(scan.first == 0 && !refines, &tables.dc[coded.dc_table])?,
            ac: table(scan.last > 0, &tables.ac[coded.ac_table])?,
            progressive: frame.progressive,
            first: scan.first,
            last: scan.last,
            refines,
            step: i64::from(step.unwrap_or(1)) << scan.low,
            level: 0,
            end_of_band: 0,
        })
    }

    /// Starts anew behind a restart marker.
    fn restart(&mut self) {
        self.level = 0;
        self.end_of_band = 0;
    }

    /// Reads a block. `nonzero` is updated if the picture is progressive.
    fn block(&mut self, bits: &mut Bits, nonzero: &mut u64) -> Result<(), Flaw> {
        if self.first == 0 {
            match self.dc {
                Some(table) => self.dc(table, bits)?,
                None => bits.skip(1)?,
            }
        }
        match (self.ac, self.progressive, self.refines) {
            (None, ..) => Ok(()),
            (Some(table), false, _) => sequential(table, bits),
            (Some(table), true, false) => self.band(table, bits, nonzero),
            (Some(table), true, true) => self.refinement(table, bits, nonzero),
        }
    }

    /// Reads the DC coefficient, a difference from the block before (T.81, F.1.2.1).
    fn dc(&mut self, table: &HuffmanTable, bits: &mut Bits) -> Result<(), Flaw> {
        let size = u32::from(table.symbol(bits)?);
        if size > 11 {
            return Err(Flaw::damaged("a block's mean is out of range"));
        }
        let value = i64::from(bits.take(size)?);
        let is_negative = size > 0 && value < 1 << (size - 1);
        self.level += if is_negative {
            value - (1 << size) + 1
        } else {
            value
        };
        if (self.level * self.step).abs() > MAX_LEVEL {
            return Err(Flaw::damaged("a block's mean is out of range"));
        }
        Ok(())
    }

    /// Reads the first bits of a band of AC coefficients (T.81, G.1.2.2).
    fn band(
        &mut self,
        table: &HuffmanTable,
        bits: &mut Bits,
        nonzero: &mut u64,
    ) -> Result<(), Flaw> {
        if self.end_of_band > 0 {
            self.end_of_band -= 1;
            return Ok(());
        }
        let mut k = self.first;
        while k <= self.last {
            let symbol = table.symbol(bits)?;
            let (run, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (run, size) {
                (15, 0) => k += 16,
                (_, 0) => {
                    self.end_of_band = (1 << run) + bits.take(run)? - 1;
                    break;
                }
                _ => {
                    k += run as usize;
                    if k > self.last {
                        return Err(Flaw::damaged("a block has too many coefficients"));
                    }
                    bits.skip(size)?;
                    *nonzero |= 1 << k;
                    k += 1;
                }
            }
        }
        Ok(())
    }

    /// Reads one more bit of a band of AC coefficients (T.81, G.1.2.3).
    fn refinement(
        &mut self,
        table: &HuffmanTable,
        bits: &mut Bits,
        nonzero: &mut u64,
    ) -> Result<(), Flaw> {
        let mut k = self.first;
        while self.end_of_band == 0 && k <= self.last {
            let symbol = table.symbol(bits)?;
            let (mut zeros, size) = (u32::from(symbol >> 4), symbol & 15);
            match size {
                0 if zeros < 15 => {
                    self.end_of_band = (1 << zeros) + bits.take(zeros)?;
                    break;
                }
                0 => {}
                1 => bits.skip(1)?,
                _ => return Err(Flaw::damaged("a refinement has more than one bit")),
            }
            // Skip coefficients that are not zero already, each with its bit, and as many
            // as `zeros` that stay zero.
            while k <= self.last {
                if *nonzero >> k & 1 == 1 {
                    bits.skip(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size == 1 {
                if k > self.last {
                    return Err(Flaw::damaged("a block has too many coefficients"));
                }
                *nonzero |= 1 << k;
            }
            k += 1;
        }
        if self.end_of_band > 0 {
            let left = (k..=self.last).filter(|k| *nonzero >> k & 1 == 1).count();
            for _ in 0..left {
                bits.skip(1)?;
            }
            self.end_of_band -= 1;
        }
        Ok(())
    }
}

/// Reads all AC coefficients of a block (T.81, F.1.2.2).
fn sequential(table: &HuffmanTable, bits: &mut Bits) -> Result<(), Flaw> {
    let mut k = 1;
    while k < 64 {
        let symbol = table.symbol(bits)?;
        let (run, size) = (usize::from(symbol >> 4), u32::from(symbol & 15));
        match (run, size) {
            (15, 0) => k += 16,
            (_, 0) => break,
            _ => {
                k += run;
                if k > 63 {
                    return Err(Flaw::damaged("a block has too many coefficients"));
                }
                bits.skip(size)?;
                k += 1;
            }
        }
    }
    Ok(())
}
