//! Tensors that are made one at a time, as they are written.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use parking_lot::Mutex;
use safetensors::{Dtype, View};

use super::error::ModelError;

/// A tensor that will be written.
#[derive(Clone)]
pub(super) struct Outgoing<'a> {
    /// Its name in the file.
    pub(super) name: String,
    shape: Vec<usize>,
    dtype: DType,
    value: Arc<dyn Fn() -> Result<Tensor, ModelError> + 'a>,
}

impl<'a> Outgoing<'a> {
    /// A tensor of this shape and number format; `value` makes it.
    pub(super) fn new(
        name: String,
        shape: &[usize],
        dtype: DType,
        value: impl Fn() -> Result<Tensor, ModelError> + 'a,
    ) -> Self {
        Self { name, shape: shape.to_vec(), dtype, value: Arc::new(value) }
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
        match (self.outgoing.value)() {
            Ok(tensor) => Cow::Owned(View::data(&tensor).into_owned()),
            Err(error) => {
                *self.fault.lock() = Some(error);
                Cow::Borrowed(&[])
            }
        }
    }

    fn data_len(&self) -> usize {
        self.outgoing.shape.iter().product::<usize>() * self.outgoing.dtype.size_in_bytes()
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
