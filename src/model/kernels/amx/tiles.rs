//! What the matrix unit computes with.

/// Lines of a tile, and rows of one.
pub const SIDE: usize = 16;
/// Inputs of a tile.
pub const DEEP: usize = 32;
/// Brain floats whose sum is a 32-bit float.
pub const PARTS: usize = 3;
/// Where a 32-bit float has the bits of a brain float.
pub const UPPER: u32 = 0xFFFF_0000;

/// 16 x 16 values with rows and columns exchanged.
#[inline(always)]
pub fn turned<T: Copy + Default>(values: &[T; SIDE * SIDE]) -> [T; SIDE * SIDE] {
    let mut turned = [T::default(); SIDE * SIDE];
    for row in 0..SIDE {
        for column in 0..SIDE {
            turned[row * SIDE + column] = values[column * SIDE + row];
        }
    }
    turned
}

/// Brain floats of 16 rows and 32 inputs, or of 16 inputs and 32 lines, in pairs: the first of a pair is in the lower
/// half.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Tile(pub [u32; SIDE * SIDE]);

impl Tile {
    /// Nothing but zeros.
    pub fn zero() -> Self {
        Self([0; SIDE * SIDE])
    }

    /// Sets the pairs at `[line][..]` to the upper halves of 32-bit floats.
    #[inline(always)]
    pub fn set(&mut self, line: usize, values: &[u32; DEEP]) {
        let (pairs, _) = values.as_chunks::<2>();
        for (to, pair) in self.0[line * SIDE..][..SIDE].iter_mut().zip(pairs) {
            *to = (pair[0] >> 16) | (pair[1] & UPPER);
        }
    }
}

/// Sums `[line][row]`, or `[row][input]`.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Sums(pub [f32; SIDE * SIDE]);

impl Sums {
    /// None yet.
    pub fn zero() -> Self {
        Self([0.0; SIDE * SIDE])
    }

    /// Those of a line or row.
    pub fn of(&self, line: usize) -> &[f32] {
        &self.0[line * SIDE..][..SIDE]
    }
}

/// Two tiles of lines as they are stored, from an input on.
#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), allow(dead_code, reason = "the unit alone reads it"))]
#[derive(Debug, Clone, Copy)]
pub struct StoredTiles<'a> {
    /// Little-endian brain floats.
    pub bytes: &'a [u8],
    /// Bytes from one line to the next.
    pub stride: usize,
}

#[cfg_attr(not(all(target_arch = "x86_64", target_os = "linux")), allow(dead_code, reason = "the unit alone reads it"))]
impl StoredTiles<'_> {
    /// Is there this number of tiles of inputs of every line?
    pub fn reach(self, depth: usize) -> bool {
        (2 * SIDE - 1) * self.stride + 2 * DEEP * depth <= self.bytes.len()
    }
}

/// A block of integers of each of two tiles of lines, and the scales of the blocks.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct Blocks {
    /// `[line][pair of inputs]`
    pub tiles: [Tile; 2],
    /// `[line]`
    pub scales: [[f32; SIDE]; 2],
}

/// What multiplies tiles.
pub trait Unit {
    /// Adds the products of two tiles of lines with `R` tiles of rows, over as many tiles of inputs as the rows have,
    /// to the sums of each tile of rows with both tiles of lines.
    ///
    /// # Panics
    /// Rows of different depths, or lines that are shorter.
    fn add<const R: usize>(&self, lines: StoredTiles<'_>, rows: [&[[Tile; PARTS]]; R], sums: [&mut [Sums; 2]; R]);

    /// The same with lines in blocks: the products of each block are scaled before they are added.
    ///
    /// # Panics
    /// Rows and blocks of different depths.
    fn add_blocks<const R: usize>(&self, lines: &[Blocks], rows: [&[[Tile; PARTS]]; R], sums: [&mut [Sums; 2]; R]);

    /// Adds the products of `R` tiles of rows with two columns of tiles `[pair of lines][input]` to the sums
    /// `[row][input]` of each tile of rows with both.
    ///
    /// # Panics
    /// Rows or columns of different depths.
    fn add_back<const R: usize>(&self, rows: [&[[Tile; PARTS]]; R], columns: [&[Tile]; 2], sums: [&mut [Sums; 2]; R]);
}
