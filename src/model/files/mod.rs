//! A model's weights on disk, before they are read: which files and tensors are used, their number formats, and whether
//! the model can be built from them.
//!
//! [`WeightPlan::of`] is the one check: registration, download, training and serving all go through it. It reads
//! headers only.

mod carried;
mod copied;
mod decode;
mod format;
mod header;
mod inventory;
mod json;
mod mapped;
mod matrices;
mod plan;

pub(super) use carried::Carried;
pub use copied::{is_copied, without_quantization};
pub(super) use format::{Declared, declared as declared_format};
pub use header::Stored;
pub use inventory::Inventory;
pub(super) use json::read_json;
pub(super) use matrices::{blocks_of, of_tensor};
pub(super) use plan::{LoadedWeights, WeightPlan};
