//! Huffman codes and the bits between markers.

use super::{BROKEN, EARLY, Fault};

/// Codes up to this length are looked up in a table.
const FAST: u32 = 9;

/// A Huffman table.
pub(super) struct Table {
    /// Length and symbol of the code that begins so; length 0: it is longer.
    fast: [(u8, u8); 1 << FAST],
    /// One more than the last code of each length, shifted to 16 bits; codes of a length are below it.
    ends: [u32; 17],
    /// What to add to a code of each length to find its symbol.
    offsets: [i32; 17],
    symbols: Vec<u8>,
}

impl Table {
    /// None if the lengths are not a valid code.
    pub(super) fn new(lengths: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self { fast: [(0, 0); 1 << FAST], ends: [0; 17], offsets: [0; 17], symbols: symbols.to_vec() };
        let (mut code, mut first) = (0_u32, 0_usize);
        for length in 1..=16_u32 {
            let count = usize::from(lengths[length as usize - 1]);
            table.offsets[length as usize] = first as i32 - code as i32;
            if length <= FAST {
                for (index, symbol) in symbols.get(first..first + count)?.iter().enumerate() {
                    let from = ((code + index as u32) << (FAST - length)) as usize;
                    table.fast.get_mut(from..from + (1 << (FAST - length)))?.fill((length as u8, *symbol));
                }
            }
            code += count as u32;
            first += count;
            if code > 1 << length {
                return None;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }
}

/// The bits of a scan up to its next marker.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Bytes consumed.
    pub(super) at: usize,
    buffer: u64,
    held: u32,
    ended: bool,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, buffer: 0, held: 0, ended: false }
    }

    fn fill(&mut self) {
        while self.held <= 48 && !self.ended {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 1;
                    0xff
                }
                (Some(0xff), Some(0xff)) => {
                    self.at += 1;
                    continue;
                }
                (Some(0xff) | None, _) => {
                    self.ended = true;
                    return;
                }
                (Some(byte), _) => *byte,
            };
            self.at += 1;
            self.buffer = self.buffer << 8 | u64::from(byte);
            self.held += 8;
        }
    }

    /// The next `count` bits, at most 16.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Fault> {
        if self.held < count {
            self.fill();
        }
        if self.held < count {
            return Err(EARLY);
        }
        self.held -= count;
        Ok((self.buffer >> self.held) as u32 & ((1 << count) - 1))
    }

    /// The symbol of the next code.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
        if self.held < 16 {
            self.fill();
        }
        let ahead = if self.held >= 16 { self.buffer >> (self.held - 16) } else { self.buffer << (16 - self.held) };
        let ahead = (ahead & 0xffff) as u32;
        let (length, symbol) = table.fast[(ahead >> (16 - FAST)) as usize];
        let (length, symbol) = if length > 0 {
            (u32::from(length), symbol)
        } else {
            let length = (FAST + 1..=16).find(|length| ahead < table.ends[*length as usize]).ok_or(self.fault())?;
            let index = (ahead >> (16 - length)) as i32 + table.offsets[length as usize];
            (length, *table.symbols.get(index as usize).ok_or(self.fault())?)
        };
        if self.held < length {
            return Err(EARLY);
        }
        self.held -= length;
        Ok(symbol)
    }

    fn fault(&self) -> Fault {
        if self.ended && self.held < 16 { EARLY } else { BROKEN }
    }

    /// Skips a restart marker, which must come next.
    pub(super) fn restart(&mut self) -> Result<(), Fault> {
        (self.buffer, self.held) = (0, 0);
        while self.bytes.get(self.at) == Some(&0xff) && self.bytes.get(self.at + 1) == Some(&0xff) {
            self.at += 1;
        }
        match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
            (Some(0xff), Some(0xd0..=0xd7)) => {
                self.at += 2;
                self.ended = false;
                Ok(())
            }
            (None, _) | (Some(0xff), None | Some(0xd9)) => Err(EARLY),
            _ => Err(BROKEN),
        }
    }
}
