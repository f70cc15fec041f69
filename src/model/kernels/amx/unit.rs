//! The instructions of the matrix unit. Tiles 0 to 3 hold sums, 4 and 5 what is multiplied, 6 and 7 what with.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;
use std::marker::PhantomData;
use std::sync::LazyLock;

use super::super::simd::{self, Kernel};
use super::tiles::{Blocks, DEEP, PARTS, SIDE, StoredTiles, Sums, Tile, Unit};

/// Bytes of a line of a tile, and of a row of sums.
const WIDTH: usize = 2 * DEEP;
/// Tiles of the unit.
const TILES: usize = 8;

/// Has this machine such a unit, and may this process use it?
pub fn is_there() -> bool {
    // A fact of the machine that takes a system call to find out, so it is asked for once.
    static THERE: LazyLock<bool> = LazyLock::new(|| has_unit() && is_permitted());
    *THERE
}

fn has_unit() -> bool {
    const BRAIN_FLOATS: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    const NEEDED: u32 = BRAIN_FLOATS | TILES;
    is_x86_feature_detected!("avx2") && __cpuid_count(7, 0).edx & NEEDED == NEEDED
}

/// Asks the system to keep the tiles of this process's threads. One that does not know them refuses.
fn is_permitted() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of this process.
    #[allow(unsafe_code)]
    let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
    refused == 0
}

/// What the instruction that lays out tiles reads: 16 lines of 64 bytes for each.
#[repr(C, align(64))]
struct Layout {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    lines: [u8; 16],
}

/// This thread's unit. Nothing else on it uses tiles: compilers do not by themselves.
#[derive(Debug)]
pub struct Amx {
    /// It stays on its thread.
    thread: PhantomData<*const ()>,
}

impl Amx {
    /// Lays out the tiles.
    ///
    /// # Panics
    /// Where there is no unit.
    pub fn new() -> Self {
        assert!(is_there(), "this machine has no matrix unit");
        let mut layout = Layout { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], lines: [0; 16] };
        layout.bytes[..TILES].fill(WIDTH as u16);
        layout.lines[..TILES].fill(SIDE as u8);
        // SAFETY: the unit is there, and reads 64 bytes, which the layout has.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const layout, options(nostack, preserves_flags, readonly));
        }
        Self { thread: PhantomData }
    }
}

impl Drop for Amx {
    fn drop(&mut self) {
        // SAFETY: the unit is there; its tiles are given up.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, preserves_flags, nomem));
        }
    }
}

impl Unit for Amx {
    #[inline]
    fn add<const R: usize>(&self, lines: StoredTiles<'_>, rows: [&[[Tile; PARTS]]; R], mut sums: [&mut [Sums; 2]; R]) {
        let depth = rows[0].len();
        assert!(rows.iter().all(|row| row.len() == depth) && lines.reach(depth), "tiles of different depths");
        let first = lines.bytes.as_ptr();
        // SAFETY: the unit is there and laid out; a tile is 16 lines of 64 bytes, which are inside their slices: those
        // of lines were checked, those of rows and sums are whole tiles. No two of them overlap, because sums are
        // borrowed mutably. Tiles keep what they hold between the instructions, as nothing else uses them.
        #[allow(unsafe_code)]
        unsafe {
            load_sums(&sums);
            for at in 0..depth {
                let line = first.add(at * WIDTH);
                load::<4>(line, lines.stride);
                load::<5>(line.add(SIDE * lines.stride), lines.stride);
                multiply_lines(rows.map(|row| &row[at]));
            }
            store_sums(&mut sums);
        }
    }

    #[inline]
    fn add_blocks<const R: usize>(&self, lines: &[Blocks], rows: [&[[Tile; PARTS]]; R], sums: [&mut [Sums; 2]; R]) {
        assert!(rows.iter().all(|row| row.len() == lines.len()), "tiles of different depths");
        simd::run(AddBlocks { _unit: self, lines, rows, sums });
    }

    #[inline]
    fn add_back<const R: usize>(
        &self,
        rows: [&[[Tile; PARTS]]; R],
        columns: [&[Tile]; 2],
        mut sums: [&mut [Sums; 2]; R],
    ) {
        let depth = columns[0].len();
        assert!(columns[1].len() == depth && rows.iter().all(|row| row.len() == depth), "tiles of different depths");
        // SAFETY: the unit is there and laid out; all that is loaded and stored are whole tiles. They do not overlap,
        // because sums are borrowed mutably. Tiles keep what they hold between the instructions.
        #[allow(unsafe_code)]
        unsafe {
            load_sums(&sums);
            for at in 0..depth {
                load::<6>(columns[0][at].0.as_ptr().cast(), WIDTH);
                load::<7>(columns[1][at].0.as_ptr().cast(), WIDTH);
                let rows = rows.map(|row| &row[at]);
                for (part, row) in rows[0].iter().enumerate() {
                    load::<4>(row.0.as_ptr().cast(), WIDTH);
                    multiply::<0, 4, 6>();
                    multiply::<1, 4, 7>();
                    if R > 1 {
                        load::<5>(rows[R - 1][part].0.as_ptr().cast(), WIDTH);
                        multiply::<2, 5, 6>();
                        multiply::<3, 5, 7>();
                    }
                }
            }
            store_sums(&mut sums);
        }
    }
}

/// The products of one block.
///
/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn of_block<const R: usize>(lines: &[Tile; 2], rows: [&[Tile; PARTS]; R], sums: &mut [[Sums; 2]; R]) {
    // SAFETY: as the caller says; all that is loaded and stored are whole tiles. Tiles keep what they hold
    // between the instructions.
    unsafe {
        zero::<0>();
        zero::<1>();
        zero::<2>();
        zero::<3>();
        load::<4>(lines[0].0.as_ptr().cast(), WIDTH);
        load::<5>(lines[1].0.as_ptr().cast(), WIDTH);
        multiply_lines(rows);
        store_sums(&mut sums.each_mut());
    }
}

struct AddBlocks<'a, 'b, const R: usize> {
    /// While it is borrowed, it is laid out.
    _unit: &'a Amx,
    lines: &'a [Blocks],
    rows: [&'a [[Tile; PARTS]]; R],
    sums: [&'b mut [Sums; 2]; R],
}

impl<const R: usize> Kernel for AddBlocks<'_, '_, R> {
    type Output = ();

    #[inline(always)]
    fn run<const FMA: bool>(self) {
        // The products of a block are scaled while the unit multiplies the next one.
        let mut products = [[[Sums::zero(); 2]; R]; 2];
        let mut sums = self.sums;
        for at in 0..=self.lines.len() {
            if let Some(block) = self.lines.get(at) {
                // SAFETY: there is a unit that is laid out.
                #[allow(unsafe_code)]
                unsafe {
                    of_block(&block.tiles, self.rows.map(|row| &row[at]), &mut products[at % 2]);
                }
            }
            let Some(last) = at.checked_sub(1) else { continue };
            for (sums, products) in sums.iter_mut().zip(&products[last % 2]) {
                for ((sums, products), scales) in sums.iter_mut().zip(products).zip(&self.lines[last].scales) {
                    let lines = sums.0.as_chunks_mut::<SIDE>().0.iter_mut().zip(products.0.as_chunks::<SIDE>().0);
                    for ((sums, products), scale) in lines.zip(scales) {
                        // A copy: nothing that is written can change what is read, so this is one vector.
                        let mut values = *sums;
                        for i in 0..SIDE {
                            values[i] = simd::mul_add::<FMA>(*scale, products[i], values[i]);
                        }
                        *sums = values;
                    }
                }
            }
        }
    }
}

/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn load_sums<const R: usize>(sums: &[&mut [Sums; 2]; R]) {
    // SAFETY: as the caller says; sums are whole tiles.
    unsafe {
        load::<0>(sums[0][0].0.as_ptr().cast(), WIDTH);
        load::<1>(sums[0][1].0.as_ptr().cast(), WIDTH);
        if R > 1 {
            load::<2>(sums[R - 1][0].0.as_ptr().cast(), WIDTH);
            load::<3>(sums[R - 1][1].0.as_ptr().cast(), WIDTH);
        }
    }
}

/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn store_sums<const R: usize>(sums: &mut [&mut [Sums; 2]; R]) {
    // SAFETY: as the caller says; sums are whole tiles.
    unsafe {
        store::<0>(sums[0][0].0.as_mut_ptr().cast());
        store::<1>(sums[0][1].0.as_mut_ptr().cast());
        if R > 1 {
            store::<2>(sums[R - 1][0].0.as_mut_ptr().cast());
            store::<3>(sums[R - 1][1].0.as_mut_ptr().cast());
        }
    }
}

/// # Safety
/// 16 lines of 64 bytes, `stride` bytes apart from `from` on, can be read.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn load<const TILE: u8>(from: *const u8, stride: usize) {
    // SAFETY: as the caller says.
    unsafe {
        asm!(
            "tileloadd tmm{tile}, [{from} + {stride}*1]",
            tile = const TILE,
            from = in(reg) from,
            stride = in(reg) stride,
            options(nostack, preserves_flags, readonly),
        );
    }
}

/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn zero<const TILE: u8>() {
    // SAFETY: as the caller says; only a tile changes.
    unsafe {
        asm!("tilezero tmm{tile}", tile = const TILE, options(nostack, preserves_flags, nomem));
    }
}

/// # Safety
/// 1,024 bytes from `to` on can be written.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn store<const TILE: u8>(to: *mut u8) {
    // SAFETY: as the caller says.
    unsafe {
        asm!(
            "tilestored [{to} + {stride}*1], tmm{tile}",
            tile = const TILE,
            to = in(reg) to,
            stride = in(reg) WIDTH,
            options(nostack, preserves_flags),
        );
    }
}

/// Adds the products of two tiles of lines, which are loaded, with all parts of the rows.
///
/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn multiply_lines<const R: usize>(rows: [&[Tile; PARTS]; R]) {
    // SAFETY: as the caller says; rows are whole tiles.
    unsafe {
        for (part, row) in rows[0].iter().enumerate() {
            load::<6>(row.0.as_ptr().cast(), WIDTH);
            multiply::<0, 4, 6>();
            multiply::<1, 5, 6>();
            if R > 1 {
                load::<7>(rows[R - 1][part].0.as_ptr().cast(), WIDTH);
                multiply::<2, 4, 7>();
                multiply::<3, 5, 7>();
            }
        }
    }
}

/// Adds products to sums.
///
/// # Safety
/// The unit is there and laid out.
#[allow(unsafe_code)]
#[inline(always)]
unsafe fn multiply<const SUMS: u8, const A: u8, const B: u8>() {
    // SAFETY: as the caller says; only tiles change.
    unsafe {
        asm!(
            "tdpbf16ps tmm{sums}, tmm{a}, tmm{b}",
            sums = const SUMS,
            a = const A,
            b = const B,
            options(nostack, preserves_flags, nomem),
        );
    }
}
