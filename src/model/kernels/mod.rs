//! The operations that models are made of: differentiable, on every device, and fast on the CPU.
//!
//! Callers see one function per operation. Each has a COMPOSED form, made of candle operations with a correct backward:
//! it runs on every device and is the reference in tests. Some also have a FUSED form, one pass over memory on the CPU
//! in f32 with its own backward; it is used wherever the tensors allow, and the results agree. (Candle's own fused
//! forms, `ops::softmax_last_dim`, `ops::rms_norm`, `rotary_emb::rope`, silently cut the gradient.)
//!
//! | operation | file | forms |
//! |---|---|---|
//! | [`attention()`], [`rotate`]: grouped queries, rotary positions, causal with padding or within bounds | `attention/` | composed, fused |
//! | [`delta_rule()`], [`causal_conv`], a step of either, [`log_decay`]: gated delta nets over [`Segments`] | `delta_rule/` | composed, fused |
//! | [`linear`] | `linear.rs` | composed, fused |
//! | [`adapted_linear`], [`adapted_stored_linear`]: with a low-rank adapter | `adapted.rs` | composed, fused |
//! | [`stored_linear`] by a [`StoredMatrix`], on the CPU | `stored_linear.rs` | fused |
//! | [`rms_norm`], [`zero_centred_rms_norm`], [`layer_norm`] | `norm.rs` | composed, fused |
//! | [`gated_rms_norm`] | `gated_norm.rs` | composed, fused |
//! | [`gated_silu`], [`sigmoid_gated`], [`sigmoid`], [`quick_gelu`], [`gelu()`], [`gelu_erf`] | `activation.rs` | composed, fused |
//! | [`token_logprobs()`], [`token_logprobs_backward`]: log-probs and entropy from logits, and back | `token_logprobs.rs` | composed, fused |
//! | [`softmax`], [`log_softmax`] | `softmax.rs` | composed |
//! | [`Draws`]: the next tokens from logits on the device (on the CPU: [`TokenWeights`]) | `draw.rs` | composed |
//!
//! What each form keeps in memory for its backward is counted in `activation_memory`.
//!
//! Below them: `simd` (vector arithmetic, compiled for AVX2 and for the baseline, chosen at run time), `product`
//! (matrix products of slices), `gemv` and `tile` (products of few rows with a weight), `lines` (rows of 16 bits
//! and fewer), `pack` (values as such blocks), `dots` and `panels` (products with them of very few rows, and of many),
//! `amx` (products with them on a matrix unit), `vocabulary` (a draw from logits),
//! `strided` (tensors as slices), `threads`; `own_backward` for composed forms that keep less than
//! candle's operations would.
//! Unsafe code is allowed in `simd`, `product` and `amx::unit` alone.
#![allow(
    clippy::inline_always,
    reason = "a kernel is compiled for an instruction set only if it is inlined into the function that names it"
)]

mod activation;
pub mod activation_memory;
mod adapted;
mod amx;
mod attention;
mod delta_rule;
mod dots;
mod draw;
mod gated_norm;
mod gemv;
mod linear;
mod lines;
mod mixed;
mod norm;
mod own_backward;
mod pack;
mod panels;
mod pieces;
mod product;
mod simd;
mod softmax;
mod stored;
mod stored_linear;
mod strided;
mod threads;
mod tile;
mod token_logprobs;
mod vocabulary;

use candle_core::{DType, Tensor};

use super::transfers::is_gpu;

pub use activation::{gated_silu, gelu, gelu_erf, quick_gelu, sigmoid, sigmoid_gated};
pub use adapted::{adapted_linear, adapted_stored_linear};
pub use attention::{Attended, AttentionMask, MASKED, Rope, Suffix, attention, rotate};
pub use delta_rule::{
    Convolved, DeltaHeads, DeltaRule, Segment, Segments, Start, causal_conv, causal_conv_step, delta_rule, delta_step,
    log_decay,
};
pub use draw::{DrawRule, Drawn, Draws};
pub use gated_norm::gated_rms_norm;
pub use linear::linear;
pub use norm::{layer_norm, rms_norm, zero_centred_rms_norm};
pub use softmax::{log_softmax, softmax};
pub use stored::{Memory, Number, StoredMatrix};
pub use stored_linear::stored_linear;
pub use threads::among_workers;
pub use token_logprobs::{Distribution, token_logprobs, token_logprobs_backward, token_logprobs_on_device};
pub use vocabulary::{TokenWeights, all_finite};

/// Which form of an operation runs. Models never choose; tests compare the two.
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
        let fits = |t: &&Tensor| !is_gpu(t.device()) && t.dtype() == DType::F32 && t.elem_count() > 0;
        if tensors.iter().all(fits) { Self::Fused } else { Self::Composed }
    }
}

/// The same operations with the form chosen by the caller, so that one can be tested against the other.
pub mod forms {
    pub use super::activation::{
        gated_silu_by as gated_silu, gelu_by as gelu, gelu_erf_by as gelu_erf, quick_gelu_by as quick_gelu,
        sigmoid_by as sigmoid, sigmoid_gated_by as sigmoid_gated,
    };
    pub use super::adapted::adapted_linear_by as adapted_linear;
    pub use super::attention::{BlockSides, attention_by as attention, attention_in_blocks, rotate_by as rotate};
    pub use super::delta_rule::{
        Inputs as DeltaInputs, Method as DeltaMethod, causal_conv_by as causal_conv,
        causal_conv_step_by as causal_conv_step, delta_rule_by as delta_rule, delta_step_by as delta_step,
        log_decay_by as log_decay,
    };
    pub use super::gated_norm::gated_rms_norm_by as gated_rms_norm;
    pub use super::linear::linear_by as linear;
    pub use super::norm::{layer_norm_by as layer_norm, rms_norm_by as rms_norm};
    pub use super::token_logprobs::{
        token_logprobs_backward_by as token_logprobs_backward, token_logprobs_by as token_logprobs,
    };
}
