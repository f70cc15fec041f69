//! Frames and their scans: the order of blocks and coefficients.

use super::bits::{Bits, Table};
use super::{BROKEN, EARLY, Fault};

/// Coefficients of a block.
const COEFFICIENTS: usize = 64;
/// No scan contained the coefficient.
const NEVER: u8 = 255;

/// A colour channel.
pub(super) struct Component {
    id: u8,
    /// Blocks of one unit, across and down.
    sampling: (usize, usize),
    /// Blocks of the image.
    blocks: (usize, usize),
    /// Blocks of all units in a row.
    stride: usize,
    /// Low bits that are still missing, for each coefficient.
    missing: [u8; COEFFICIENTS],
    /// The coefficients of each block that are not zero, bit by bit (progressive files only).
    filled: Vec<u64>,
}

impl Component {
    pub(super) fn is_complete(&self) -> bool {
        self.missing.iter().all(|bits| *bits == 0)
    }
}

/// An image as described by its frame header.
pub(super) struct Frame {
    progressive: bool,
    units: (usize, usize),
    pub(super) components: Vec<Component>,
}

/// The contents of a scan.
struct Pass<'a> {
    progressive: bool,
    /// First and last coefficient.
    band: (usize, usize),
    /// Does it refine coefficients of an earlier scan?
    refines: bool,
    first: Option<&'a Table>,
    others: Option<&'a Table>,
}

impl Frame {
    /// None for frames that the decoder does not support.
    pub(super) fn read(segment: &[u8], progressive: bool) -> Option<Self> {
        let [depth, h1, h2, w1, w2, count, rest @ ..] = segment else { return None };
        let (height, width) = (usize::from(*h1) << 8 | usize::from(*h2), usize::from(*w1) << 8 | usize::from(*w2));
        let parts = rest.chunks_exact(3).take(usize::from(*count));
        let sampling = |part: &[u8]| (usize::from(part[1] >> 4), usize::from(part[1] & 15));
        let across = parts.clone().map(|part| sampling(part).0).max()?;
        let down = parts.clone().map(|part| sampling(part).1).max()?;
        let fits = parts.clone().all(|part| (1..=4).contains(&sampling(part).0) && (1..=4).contains(&sampling(part).1));
        if *depth != 8 || width == 0 || height == 0 || !fits || parts.len() != usize::from(*count) {
            return None;
        }
        let units = (width.div_ceil(8 * across), height.div_ceil(8 * down));
        let component = |part: &[u8]| {
            let (x, y) = sampling(part);
            let stride = units.0 * x;
            Component {
                id: part[0],
                sampling: (x, y),
                blocks: ((width * x).div_ceil(across).div_ceil(8), (height * y).div_ceil(down).div_ceil(8)),
                stride,
                missing: [NEVER; COEFFICIENTS],
                filled: if progressive { vec![0; stride * units.1 * y] } else { Vec::new() },
            }
        };
        Some(Self { progressive, units, components: parts.map(component).collect() })
    }

    /// Reads a scan whose data begins with `data`; returns the number of bytes that belong to the scan.
    pub(super) fn scan(
        &mut self,
        header: &[u8],
        tables: &[Option<Table>; 8],
        restart: u32,
        data: &[u8],
    ) -> Result<usize, Fault> {
        let (count, rest) = header.split_first().ok_or(EARLY)?;
        let (chosen, tail) = rest.split_at_checked(usize::from(*count) * 2).ok_or(BROKEN)?;
        let [from, to, bits, ..] = *tail else { return Err(BROKEN) };
        let (from, to) = if self.progressive { (usize::from(from), usize::from(to)) } else { (0, COEFFICIENTS - 1) };
        if from > to || to >= COEFFICIENTS {
            return Err(BROKEN);
        }
        let low = if self.progressive { bits & 15 } else { 0 };
        let mut parts = Vec::new();
        for pair in chosen.chunks_exact(2) {
            let found = self.components.iter().position(|component| component.id == pair[0]).ok_or(BROKEN)?;
            self.components[found].missing[from..=to].fill(low);
            let table = |class: usize, index: u8| tables[class * 4 + usize::from(index & 3)].as_ref();
            let pass = Pass {
                progressive: self.progressive,
                band: (from, to),
                refines: self.progressive && bits >> 4 != 0,
                first: table(0, pair[1] >> 4),
                others: table(1, pair[1]),
            };
            parts.push((found, pass));
        }
        let mut bits = Bits::new(data);
        match &parts[..] {
            [] => return Err(BROKEN),
            [(component, pass)] => self.alone(*component, pass, restart, &mut bits)?,
            _ => self.together(&parts, restart, &mut bits)?,
        }
        Ok(bits.at)
    }

    /// A scan of one channel: its blocks row by row.
    fn alone(&mut self, component: usize, pass: &Pass<'_>, restart: u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let component = &mut self.components[component];
        let (across, down) = component.blocks;
        let mut run = 0;
        for unit in 0..across * down {
            if restart > 0 && unit > 0 && unit.is_multiple_of(restart as usize) {
                bits.restart()?;
                run = 0;
            }
            let at = unit / across * component.stride + unit % across;
            pass.block(component.filled.get_mut(at), &mut run, bits)?;
        }
        Ok(())
    }

    /// A scan of several channels: unit by unit, the blocks of each channel in it.
    fn together(&mut self, parts: &[(usize, Pass<'_>)], restart: u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let mut run = 0;
        for unit in 0..self.units.0 * self.units.1 {
            if restart > 0 && unit > 0 && unit.is_multiple_of(restart as usize) {
                bits.restart()?;
                run = 0;
            }
            for (component, pass) in parts {
                let component = &mut self.components[*component];
                let (across, down) = component.sampling;
                for inside in 0..across * down {
                    let (x, y) = (unit % self.units.0 * across, unit / self.units.0 * down);
                    let at = (y + inside / across) * component.stride + x + inside % across;
                    pass.block(component.filled.get_mut(at), &mut run, bits)?;
                }
            }
        }
        Ok(())
    }
}

impl Pass<'_> {
    /// Reads one block of the scan. `run`: number of empty blocks that follow.
    fn block(&self, filled: Option<&mut u64>, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let mut none = 0;
        let filled = filled.unwrap_or(&mut none);
        if !self.progressive {
            self.first(bits)?;
            return self.band_first(1, filled, run, bits);
        }
        match (self.band.0, self.refines) {
            (0, false) => self.first(bits),
            (0, true) => bits.take(1).map(drop),
            (from, false) => self.band_first(from, filled, run, bits),
            (from, true) => self.band_again(from, filled, run, bits),
        }
    }

    fn first(&self, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let size = bits.symbol(self.first.ok_or(BROKEN)?)?;
        if size > 16 {
            return Err(BROKEN);
        }
        bits.take(u32::from(size)).map(drop)
    }

    fn band_first(&self, from: usize, filled: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let table = self.others.ok_or(BROKEN)?;
        let mut at = from;
        while at <= self.band.1 {
            let symbol = bits.symbol(table)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size > 0 {
                at += usize::from(zeros);
                if at > self.band.1 {
                    return Err(BROKEN);
                }
                bits.take(u32::from(size))?;
                *filled |= 1 << at;
                at += 1;
            } else if zeros == 15 {
                at += 16;
            } else {
                *run = if self.progressive { (1 << zeros) - 1 + bits.take(u32::from(zeros))? } else { 0 };
                break;
            }
        }
        Ok(())
    }

    fn band_again(&self, from: usize, filled: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let table = self.others.ok_or(BROKEN)?;
        let mut at = from;
        while *run == 0 && at <= self.band.1 {
            let symbol = bits.symbol(table)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size > 0 {
                bits.take(1)?;
            } else if zeros < 15 {
                *run = (1 << zeros) + bits.take(u32::from(zeros))?;
                break;
            }
            // A refinement bit of every coefficient before the next new one.
            while at <= self.band.1 {
                if *filled >> at & 1 == 1 {
                    bits.take(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size > 0 && at <= self.band.1 {
                *filled |= 1 << at;
            }
            at += 1;
        }
        if *run > 0 {
            while at <= self.band.1 {
                if *filled >> at & 1 == 1 {
                    bits.take(1)?;
                }
                at += 1;
            }
            *run -= 1;
        }
        Ok(())
    }
}
