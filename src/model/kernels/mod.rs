//! The operations that models are made of: differentiable, on every device, and fast on the CPU.
//!
//! Callers see one function per operation. Each has a COMPOSED form, made of candle operations with a correct backward: it
//! runs on every device and is the oracle of the tests. Some have a FUSED form too, one pass over memory on the CPU in f32 with
//! a backward of its own; it is taken wherever the tensors
//! allow, and nobody outside can tell which one ran.
//! (Candle's own fused forms, `ops::softmax_last_dim`, `ops::rms_norm`, `rotary_emb::rope`, silently cut the gradient.)
//!
//! | operation | file | forms |
//! |---|---|---|
//! | [`attention()`], [`rotate`]: grouped queries, rotary positions, causal with padding or within bounds | `attention/` | composed, fused |
//! | [`linear`] | `linear.rs` | composed, fused |
//! | [`rms_norm`], [`layer_norm`] | `norm.rs` | composed, fused |
//! | [`gated_silu`], [`quick_gelu`], [`gelu()`], [`gelu_erf`] | `activation.rs` | composed, fused |
//! | [`choice()`], [`choice_backward`]: log-probs and entropy from logits, and back | `choice.rs` | composed, fused |
//! | [`softmax`], [`log_softmax`] | `softmax.rs` | composed |
//!
//! What each form keeps in memory for its backward is counted in `kept`.
//!
//! Below them: `lanes` (vector arithmetic, compiled for AVX2 and for the baseline, chosen at run time), `product` (matrix
//! products of slices), `few_rows` (products of few rows with a weight), `view` (tensors as slices), `threads`. Unsafe code is allowed in `lanes` and `product` alone.
#![allow(
    clippy::inline_always,
    reason = "a kernel is compiled for an instruction set only if it is inlined into the function that names it"
)]

mod activation;
mod attention;
mod choice;
mod few_rows;
pub mod kept;
mod lanes;
mod linear;
mod mixed;
mod norm;
mod product;
mod softmax;
mod threads;
mod view;

use candle_core::{DType, Tensor};

pub use activation::{gated_silu, gelu, gelu_erf, quick_gelu};
pub use attention::{Attended, Branch, MASKED, Rope, Visible, attention, rotate};
pub use choice::{Distribution, choice, choice_backward};
pub use linear::linear;
pub use norm::{layer_norm, rms_norm};
pub use softmax::{log_softmax, softmax};
pub use threads::among_workers;

/// Which form of an operation computes. Models never choose; tests compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Candle operations: any device, any type.
    Composed,
    /// One pass on the CPU in f32.
    Fused,
}

impl Form {
    /// The best form for these tensors: fused where all are f32 on the CPU.
    fn of(tensors: &[&Tensor]) -> Self {
        let fits = |t: &&Tensor| t.device().is_cpu() && t.dtype() == DType::F32 && t.elem_count() > 0;
        if tensors.iter().all(fits) { Self::Fused } else { Self::Composed }
    }
}

/// The same operations with the form chosen by the caller, so that one can be tested against the other.
pub mod forms {
    pub use super::activation::{
        gated_silu_by as gated_silu, gelu_by as gelu, gelu_erf_by as gelu_erf, quick_gelu_by as quick_gelu,
    };
    pub use super::attention::{attention_by as attention, rotate_by as rotate};
    pub use super::choice::{choice_backward_by as choice_backward, choice_by as choice};
    pub use super::linear::linear_by as linear;
    pub use super::norm::{layer_norm_by as layer_norm, rms_norm_by as rms_norm};
}
