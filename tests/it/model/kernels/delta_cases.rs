//! The delta rule against stored numbers: results and gradients of a float64 recurrence.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use candle_core::{Device, Tensor, Var};
use vgpo::model::kernels::forms::{self, DeltaInputs};
use vgpo::model::kernels::{DeltaHeads, Segments};

use super::super::{flat, relative};
use super::delta_rule::METHODS;

fn stored() -> HashMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/delta_rule/cases.safetensors");
    candle_core::safetensors::load(path, &Device::Cpu).unwrap()
}

/// Results differ by at most 1e-5, gradients by 2e-5 of the largest entry.
#[test]
fn every_method_gives_the_stored_results_and_gradients() {
    let stored = stored();
    let names: BTreeSet<&str> = stored.keys().filter_map(|key| key.split_once('.')).map(|(name, _)| name).collect();
    assert_eq!(names.len(), 9, "{names:?}");
    for name in names {
        let tensor = |of: &str| &stored[&format!("{name}.{of}")];
        for method in METHODS {
            let vars: HashMap<&str, Var> = ["q", "k", "v", "g", "beta", "state0"]
                .into_iter()
                .map(|of| (of, Var::from_tensor(tensor(of)).unwrap()))
                .collect();
            let (length, key_heads, key_dim) = tensor("q").dims3().unwrap();
            let (_, value_heads, value_dim) = tensor("v").dims3().unwrap();
            let heads = DeltaHeads { key_heads, value_heads, key_dim, value_dim };
            let row = |of: &str| vars[of].reshape((1, length, ())).unwrap();
            let qkv = Tensor::cat(&[row("q"), row("k"), row("v")], 2).unwrap();
            let found = forms::delta_rule(
                method,
                &DeltaInputs {
                    qkv: &qkv,
                    decay: &row("g"),
                    beta: &row("beta"),
                    initial: Some(&vars["state0"].unsqueeze(0).unwrap()),
                    segments: &Segments::rows(length, &[0], true),
                    heads,
                },
                true,
            )
            .unwrap();
            let (out, state) = (found.out.squeeze(0).unwrap(), found.states.unwrap().squeeze(0).unwrap());
            for (what, found, stored) in [("out", &out, tensor("out")), ("state", &state, tensor("state"))] {
                let worst = flat(found).iter().zip(flat(stored)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(
                    worst < 1e-5 && flat(found).iter().all(|v| v.is_finite()),
                    "{name}, {method:?}: {what} differs by {worst}"
                );
            }
            let part = |x: &Tensor, weight: &str| (x * tensor(weight)).unwrap().sum_all().unwrap();
            let gradients = (part(&out, "w_out") + part(&state, "w_state")).unwrap().backward().unwrap();
            for (of, var) in &vars {
                let off = relative(tensor(&format!("d_{of}")), gradients.get(var).unwrap());
                assert!(off < 2e-5, "{name}, {method:?}: the gradient of {of} differs by {off}");
            }
        }
    }
}
