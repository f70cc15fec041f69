//! Where there is no matrix unit that this program knows.

use super::tiles::{Blocks, PARTS, StoredTiles, Sums, Tile, Unit};

/// Never.
pub fn is_there() -> bool {
    false
}

/// There is none.
#[derive(Debug)]
pub enum Amx {}

impl Amx {
    /// # Panics
    /// Always: see [`is_there`].
    pub fn new() -> Self {
        panic!("this machine has no matrix unit")
    }
}

impl Unit for Amx {
    fn add<const R: usize>(&self, _: StoredTiles<'_>, _: [&[[Tile; PARTS]]; R], _: [&mut [Sums; 2]; R]) {
        match *self {}
    }

    fn add_blocks<const R: usize>(&self, _: &[Blocks], _: [&[[Tile; PARTS]]; R], _: [&mut [Sums; 2]; R]) {
        match *self {}
    }

    fn add_back<const R: usize>(&self, _: [&[[Tile; PARTS]]; R], _: [&[Tile]; 2], _: [&mut [Sums; 2]; R]) {
        match *self {}
    }
}
