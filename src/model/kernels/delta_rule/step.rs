//! Decode: one token of each of many sequences.

use candle_core::{Result, Tensor, bail};

use super::super::Form;
use super::{DeltaHeads, Inputs, Method, Segments, delta_rule_by};

/// One token of each of `rows` sequences, without gradient: `qkv: [rows, channels]`, `decay`, `beta: [rows, value_heads]` to
/// `[rows, value_heads, value_dim]`. `states: [rows, value_heads, key_dim, value_dim]` (contiguous) are updated in place.
///
/// # Errors
/// Shapes that do not match each other or `heads`.
pub fn delta_step(qkv: &Tensor, decay: &Tensor, beta: &Tensor, states: &Tensor, heads: DeltaHeads) -> Result<Tensor> {
    delta_step_by(Form::of(&[qkv, decay, beta, states]), qkv, decay, beta, states, heads)
}

/// [`delta_step`] in a chosen form.
pub fn delta_step_by(
    _form: Form,
    qkv: &Tensor,
    decay: &Tensor,
    beta: &Tensor,
    states: &Tensor,
    heads: DeltaHeads,
) -> Result<Tensor> {
    let (rows, _) = qkv.dims2()?;
    if states.dim(0)? != rows {
        bail!("{rows} tokens do not fit the states {:?}", states.dims());
    }
    // [rows, 1, ..]
    let [qkv, decay, beta] = [qkv, decay, beta].map(|x| x.detach().unsqueeze(1));
    let inputs = Inputs {
        qkv: &qkv?,
        decay: &decay?,
        beta: &beta?,
        initial: Some(&states.copy()?),
        segments: &Segments::rows(1, &vec![0; rows], true),
        heads,
    };
    let found = delta_rule_by(Method::Recurrent, &inputs, true)?;
    if let Some(next) = found.states {
        states.slice_set(&next.contiguous()?, 0, 0)?;
    }
    found.out.squeeze(1)
}
