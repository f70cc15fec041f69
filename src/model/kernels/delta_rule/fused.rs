//! The fused delta rule as an operation of candle's graph: over queries, keys and values in one tensor, both gates in
//! another, and initial states. Its result is one tensor too: results, and states after them.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, D, Device, Layout as Place, Result, Shape, Tensor};

use super::super::strided::{self, Guard};
use super::layout::Layout;
use super::segments::Segments;
use super::{DeltaHeads, DeltaRule, Inputs, backward, forward};

pub(super) fn delta_rule(inputs: &Inputs<'_>, keep_states: bool) -> Result<DeltaRule> {
    let Inputs { qkv, decay, beta, initial, segments, heads } = *inputs;
    let op = Rule { segments: segments.clone(), heads, keep_states };
    let qkv = qkv.contiguous()?;
    // [rows, seq_len, 2 * value_heads]
    let gates = Tensor::cat(&[decay, beta], D::Minus1)?.contiguous()?;
    let all = match initial.filter(|_| segments.cached() > 0) {
        Some(initial) => qkv.apply_op3(&gates, &initial.contiguous()?, op)?,
        None => qkv.apply_op2(&gates, op)?,
    };
    let (rows, seq_len) = segments.shape();
    let out = (rows, seq_len, heads.value_heads, heads.value_dim);
    if !keep_states {
        return Ok(DeltaRule { out: all.reshape(out)?, states: None });
    }
    let results = rows * seq_len * heads.value_width();
    let states = all.narrow(0, results, all.elem_count() - results)?;
    let states = states.reshape((segments.len(), heads.value_heads, heads.key_dim, heads.value_dim))?;
    Ok(DeltaRule { out: all.narrow(0, 0, results)?.reshape(out)?, states: Some(states) })
}

struct Rule {
    segments: Segments,
    heads: DeltaHeads,
    keep_states: bool,
}

impl Rule {
    fn layout<'a>(&'a self, qkv: &'a [f32], gates: &'a [f32], initial: &'a [f32]) -> Layout<'a> {
        Layout { segments: &self.segments, heads: self.heads, qkv, gates, initial }
    }

    fn forward(
        &self,
        (qkv, own): (&CpuStorage, &Place),
        (gates, other): (&CpuStorage, &Place),
        initial: &[f32],
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, gates) = (strided::contiguous(qkv, own)?, strided::contiguous(gates, other)?);
        let out = forward::run(&self.layout(qkv, gates, initial), self.keep_states);
        let shape = Shape::from(out.len());
        Ok((CpuStorage::F32(out), shape))
    }

    fn backward(
        &self,
        qkv: &Tensor,
        gates: &Tensor,
        initial: Option<&Tensor>,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let gradient = gradient.contiguous()?;
        let found = {
            let guards = [qkv, gates, &gradient].map(Guard::of);
            let states = initial.map(Guard::of);
            let states = states.as_ref().map_or(Ok([].as_slice()), Guard::values)?;
            let layout = self.layout(guards[0].values()?, guards[1].values()?, states);
            backward::run(&layout, guards[2].values()?)
        };
        // Each as its input.
        let tensor = |values, like: &Tensor| {
            // [shape of the input]
            like.track_op().then(|| Tensor::from_vec(values, like.shape(), &Device::Cpu)).transpose()
        };
        let of_initial = initial.map(|initial| tensor(found.initial, initial)).transpose()?.flatten();
        Ok([tensor(found.qkv, qkv)?, tensor(found.gates, gates)?, of_initial])
    }
}

impl CustomOp2 for Rule {
    fn name(&self) -> &'static str {
        "delta-rule"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, own: &Place, gates: &CpuStorage, other: &Place) -> Result<(CpuStorage, Shape)> {
        self.forward((qkv, own), (gates, other), &[])
    }

    fn bwd(&self, qkv: &Tensor, gates: &Tensor, _: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [qkv, gates, _] = self.backward(qkv, gates, None, g)?;
        Ok((qkv, gates))
    }
}

impl CustomOp3 for Rule {
    fn name(&self) -> &'static str {
        "delta-rule"
    }

    fn cpu_fwd(
        &self,
        qkv: &CpuStorage,
        own: &Place,
        gates: &CpuStorage,
        other: &Place,
        initial: &CpuStorage,
        third: &Place,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((qkv, own), (gates, other), strided::contiguous(initial, third)?)
    }

    fn bwd(
        &self,
        qkv: &Tensor,
        gates: &Tensor,
        initial: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [qkv, gates, initial] = self.backward(qkv, gates, Some(initial), gradient)?;
        Ok((qkv, gates, initial))
    }
}
