//! Tensors that are made one at a time, as they are written.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use parking_lot::Mutex;
use safetensors::{Dtype, View};

use super::error::ModelError;

/// Bytes of the rows that are made at a time, of a tensor whose rows are made by themselves.
const PIECE_BYTES: usize = 16 << 20;

/// How a tensor is made.
#[derive(Clone)]
enum Making<'a> {
    Whole(Arc<dyn Fn() -> Result<Tensor, ModelError> + 'a>),
    /// Some of its rows: the file's bytes and a few rows are all that takes memory.
    Rows(Arc<dyn Fn(Range<usize>) -> Result<Tensor, ModelError> + 'a>),
}

/// A tensor that will be written.
#[derive(Clone)]
pub(super) struct Outgoing<'a> {
    /// Its name in the file.
    pub(super) name: String,
    shape: Vec<usize>,
    dtype: DType,
    making: Making<'a>,
}

impl<'a> Outgoing<'a> {
    /// A tensor of this shape and number format; `value` makes it.
    pub(super) fn new(
        name: String,
        shape: &[usize],
        dtype: DType,
        value: impl Fn() -> Result<Tensor, ModelError> + 'a,
    ) -> Self {
        Self { name, shape: shape.to_vec(), dtype, making: Making::Whole(Arc::new(value)) }
    }

    /// The same; `rows` makes the rows of this range, in any number format.
    pub(super) fn by_rows(
        name: String,
        shape: &[usize],
        dtype: DType,
        rows: impl Fn(Range<usize>) -> Result<Tensor, ModelError> + 'a,
    ) -> Self {
        Self { name, shape: shape.to_vec(), dtype, making: Making::Rows(Arc::new(rows)) }
    }

    fn bytes_len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.size_in_bytes()
    }

    /// Its values as they stand in the file.
    fn bytes(&self) -> Result<Vec<u8>, ModelError> {
        let rows = match &self.making {
            Making::Whole(value) => return Ok(View::data(&value()?.to_dtype(self.dtype)?).into_owned()),
            Making::Rows(rows) => rows,
        };
        let count = self.shape.first().copied().unwrap_or(1);
        let step = (PIECE_BYTES * count / self.bytes_len().max(1)).max(1);
        let mut bytes = Vec::with_capacity(self.bytes_len());
        for from in (0..count).step_by(step) {
            let piece = rows(from..count.min(from + step))?.to_dtype(self.dtype)?;
            bytes.extend_from_slice(&View::data(&piece));
        }
        Ok(bytes)
    }

    /// The same tensor under another name.
    pub(super) fn called(&self, name: String) -> Self {
        Self { name, ..self.clone() }
    }
}

/// A tensor on its way into a file. The format's writer cannot take errors: the first one is kept for later.
pub(super) struct Written<'a> {
    outgoing: Outgoing<'a>,
    fault: &'a Mutex<Option<ModelError>>,
}

impl View for Written<'_> {
    fn dtype(&self) -> Dtype {
        self.outgoing.dtype.into()
    }

    fn shape(&self) -> &[usize] {
        &self.outgoing.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.fault.lock().is_some() {
            return Cow::Borrowed(&[]);
        }
        match self.outgoing.bytes() {
            Ok(bytes) => Cow::Owned(bytes),
            Err(error) => {
                *self.fault.lock() = Some(error);
                Cow::Borrowed(&[])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.outgoing.bytes_len()
    }
}

/// Gives `write` tensors that are made when they are asked for.
///
/// # Errors
/// Those of `write`, or a tensor that cannot be made; what was written then is of no use.
pub(super) fn one_by_one(
    tensors: Vec<Outgoing<'_>>,
    write: impl for<'f> FnOnce(Vec<(String, Written<'f>)>) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let fault = Mutex::new(None);
    let views = tensors.into_iter().map(|outgoing| (outgoing.name.clone(), Written { outgoing, fault: &fault }));
    let result = write(views.collect());
    fault.into_inner().map_or(result, Err)
}
