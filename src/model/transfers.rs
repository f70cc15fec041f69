//! The only place where values cross between main memory and a device while tokens are decoded and weights updated.
//! On a GPU every crossing waits for all work before it, so there are few, and none grows with the vocabulary, the
//! layers or the length of a sequence; [`as_on_gpu`] counts them, and the tests hold them to that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Shape, Tensor, WithDType};

/// Which way values go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// To the device.
    Up,
    /// To main memory.
    Down,
}

/// Crossings of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Crossings {
    /// How often.
    pub count: usize,
    /// Bytes in all.
    pub bytes: usize,
}

/// The crossings of a piece of work, by direction and by what crossed.
pub type Transfers = BTreeMap<(Direction, &'static str), Crossings>;

thread_local! {
    /// Does this thread work as a GPU would?
    static EMULATED: Cell<bool> = const { Cell::new(false) };
    /// What this thread has counted.
    static COUNTED: RefCell<Transfers> = const { RefCell::new(BTreeMap::new()) };
}

/// Runs `work` on this thread as a GPU would run it, with every operation in the composed form and every draw on the
/// device, and counts what would cross.
pub fn as_on_gpu<R>(work: impl FnOnce() -> R) -> (R, Transfers) {
    /// Ends the emulation also where `work` panics.
    struct Scope {
        outer: bool,
        counted: Transfers,
    }
    impl Drop for Scope {
        fn drop(&mut self) {
            EMULATED.set(self.outer);
            COUNTED.replace(std::mem::take(&mut self.counted));
        }
    }
    let scope = Scope { outer: EMULATED.replace(true), counted: COUNTED.take() };
    let result = work();
    let counted = COUNTED.take();
    drop(scope);
    (result, counted)
}

/// Does this thread work as a GPU would?
pub fn emulated() -> bool {
    EMULATED.get()
}

/// Is work on `device` done by a GPU, or as if it were?
pub fn is_gpu(device: &Device) -> bool {
    !device.is_cpu() || emulated()
}

fn count(direction: Direction, what: &'static str, bytes: usize) {
    if emulated() {
        COUNTED.with_borrow_mut(|counted| {
            let crossings = counted.entry((direction, what)).or_default();
            crossings.count += 1;
            crossings.bytes += bytes;
        });
    }
}

/// A tensor of `values` on `device`.
pub fn up<D: WithDType>(
    what: &'static str,
    values: Vec<D>,
    shape: impl Into<Shape>,
    device: &Device,
) -> Result<Tensor> {
    count(Direction::Up, what, values.len() * D::DTYPE.size_in_bytes());
    Tensor::from_vec(values, shape.into(), device) // [any shape]
}

/// The rows of a tensor of two dimensions, each on its own: no value is copied twice.
pub fn down_rows(what: &'static str, tensor: &Tensor) -> Result<Vec<Vec<f32>>> {
    count(Direction::Down, what, tensor.elem_count() * DType::F32.size_in_bytes());
    tensor.to_dtype(DType::F32)?.to_vec2()
}

/// The values of a tensor, row by row.
pub fn down(what: &'static str, tensor: &Tensor) -> Result<Vec<f32>> {
    count(Direction::Down, what, tensor.elem_count() * DType::F32.size_in_bytes());
    tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
}
