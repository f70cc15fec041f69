//! What the operations of a delta net are said to keep for their backward, against their graphs.

use std::collections::BTreeMap;
use std::ops::Deref as _;

use candle_core::{CpuStorage, Storage, Tensor, Var};
use vgpo::model::kernels::activation_memory::Arithmetic;
use vgpo::model::kernels::forms::{self, DeltaInputs, DeltaMethod};
use vgpo::model::kernels::{DeltaHeads, Form, Segments};

use super::values;

/// Bytes of the distinct storages of all results behind `result`, variables left out.
fn kept(result: &Tensor) -> usize {
    let address = |tensor: &Tensor| {
        let (storage, _) = tensor.storage_and_layout();
        match storage.deref() {
            Storage::Cpu(CpuStorage::F32(values)) => (values.as_ptr() as usize, values.len() * 4),
            Storage::Cpu(CpuStorage::F64(values)) => (values.as_ptr() as usize, values.len() * 8),
            other => panic!("{other:?} among the results"),
        }
    };
    let nodes = result.sorted_nodes();
    let variables: Vec<usize> = nodes.iter().filter(|node| node.is_variable()).map(|node| address(node).0).collect();
    let storages: BTreeMap<usize, usize> = nodes.into_iter().map(address).collect();
    storages.iter().filter(|(at, _)| !variables.contains(at)).map(|(_, bytes)| bytes).sum()
}

fn near(what: &str, form: Form, counted: usize, result: &Tensor) {
    let ratio = counted as f64 / kept(result) as f64;
    let bounds = if form == Form::Fused { 1.0..=1.0 } else { 0.97..=1.1 };
    assert!(
        bounds.contains(&ratio),
        "{what}, {form:?}: counted {counted}, the graph holds {}, {ratio:.3}",
        kept(result)
    );
}

#[test]
fn the_counts_are_what_the_graphs_hold() {
    let var = |seed, shape: &[usize]| Var::from_tensor(&values(seed, shape)).unwrap();
    for heads in [
        DeltaHeads { key_heads: 4, value_heads: 4, key_dim: 32, value_dim: 32 },
        DeltaHeads { key_heads: 2, value_heads: 6, key_dim: 64, value_dim: 48 },
    ] {
        let tokens = 256;
        let segments = Segments::rows(tokens, &[0], false);
        let (qkv, gate) = (var(1, &[1, tokens, heads.channels()]), var(2, &[1, tokens, heads.value_heads]));
        let (weight, narrow) = (var(3, &[heads.channels(), 1, 4]), var(4, &[heads.value_heads]));
        let (x, z) = (var(5, &[tokens, heads.value_width()]), var(6, &[tokens, heads.value_width()]));
        let scale = var(7, &[heads.value_width()]);
        for form in [Form::Fused, Form::Composed] {
            let by = Arithmetic { cpu: form == Form::Fused, weight_bytes: 4 };
            let count = tokens * heads.value_width();
            let norm = forms::gated_rms_norm(form, &x, &z, &scale, 1e-6).unwrap();
            near("gated norm", form, by.gated_rms_norm(tokens, heads.value_width()), &norm);
            near("quick gelu", form, by.quick_gelu(count), &forms::quick_gelu(form, &x).unwrap());
            near("gated silu", form, by.gated_silu(count), &forms::gated_silu(form, &x, &z).unwrap());
            near("gate", form, by.sigmoid_gated(count), &forms::sigmoid_gated(form, &x, &z).unwrap());
            let decay = forms::log_decay(form, &gate, &narrow, &narrow).unwrap();
            near("decay", form, by.log_decay(tokens * heads.value_heads), &decay);
            let convolved = forms::causal_conv(form, &qkv, &weight, None, &segments).unwrap().out;
            near("convolution", form, by.causal_conv(tokens * heads.channels(), 4), &convolved);
            let inputs =
                DeltaInputs { qkv: &qkv, decay: &gate, beta: &gate, initial: None, segments: &segments, heads };
            let found = forms::delta_rule(DeltaMethod::Chunked(form), &inputs, false).unwrap();
            near("delta rule", form, by.delta_rule(tokens, heads), &found.out);
        }
    }
}
