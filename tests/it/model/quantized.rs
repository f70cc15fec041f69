//! Weights in 8 and 4 bits: close to the native ones, smaller, and only where rows are whole blocks.

use candle_core::{Device, Tensor};
use vgpo::domain::weights::WeightFormat;
use vgpo::model::quantized::held_bytes;
use vgpo::model::{Capture, View, VisionLanguageModel};

use super::{FAMILIES, Family, QWEN2, QWEN2_5, flat, hidden, on_large_stack};

fn logits(model: &dyn VisionLanguageModel, family: Family) -> Tensor {
    let (_, states) = hidden(model, &[&family.case("p1_single").row], &mut Capture::none());
    let width = states.dims().last().copied().unwrap();
    model.logits(&states.reshape(((), width)).unwrap()).unwrap()
}

/// Root of the mean squared difference, over that of the values themselves.
fn distance(got: &Tensor, want: &Tensor) -> f64 {
    let square = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    let (got, want) = (flat(got), flat(want));
    let difference: Vec<f32> = got.iter().zip(&want).map(|(got, want)| got - want).collect();
    (square(&difference) / square(&want)).sqrt()
}

#[test]
fn answers_come_closer_with_every_bit() {
    on_large_stack(|| {
        for family in FAMILIES {
            let folder = family.open();
            let native = logits(folder.model(View::Detached).unwrap().as_ref(), family);
            let of = |format| logits(folder.served(format).unwrap().as_ref(), family);
            assert_eq!(flat(&of(WeightFormat::Native)), flat(&native));
            let (eight, four) = (distance(&of(WeightFormat::Q8), &native), distance(&of(WeightFormat::Q4), &native));
            assert!(eight > 0.0 && eight < 0.06, "{eight}");
            assert!(four > 3.0 * eight && four < 0.8, "{four}");
        }
    });
}

#[test]
fn bytes_are_those_of_the_blocks() {
    // Tied to the embedding: there is no head of its own. Layers of 64 x 64 and 160 wide, all whole blocks of 32.
    let parameters = QWEN2.open();
    let layers: usize = (parameters.parameters().vars().iter())
        .filter(|(name, var)| name.starts_with("model.layers.") && var.dims().len() == 2)
        .map(|(_, var)| var.elem_count())
        .sum();
    let rest = parameters.parameters().count() - layers;
    for (format, block) in [(WeightFormat::Q8, 34), (WeightFormat::Q4, 18)] {
        assert_eq!(held_bytes(parameters.parameters(), format), 4 * rest + layers / 32 * block);
    }
    assert_eq!(held_bytes(parameters.parameters(), WeightFormat::Native), 4 * parameters.parameters().count());
    // A head of its own is a layer as well.
    let own = QWEN2_5.open();
    let head = own.parameters().vars()["lm_head.weight"].elem_count();
    assert!(held_bytes(own.parameters(), WeightFormat::Q8) <= 4 * (own.parameters().count() - head) + head / 32 * 34);
}

#[test]
fn a_quantised_model_needs_no_folder() {
    on_large_stack(|| {
        let model = QWEN2_5.open().served(WeightFormat::Q4).unwrap();
        assert!(model.device().is_cpu() && matches!(model.device(), Device::Cpu));
        let finite = flat(&logits(model.as_ref(), QWEN2_5)).iter().all(|value| value.is_finite());
        assert!(finite);
    });
}
