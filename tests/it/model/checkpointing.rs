//! Gradients block by block and chunk by chunk equal those of one whole graph.

use candle_core::{DType, Device, Tensor};
use vgpo::model::logprob::{ScoreGradients, TokenTarget, Vocabulary, scores_backward, token_scores};
use vgpo::model::{Batch, Capture, Sequence, Tape, View, VisionLanguageModel, seeded};
use vgpo::train::TrainError;
use vgpo::train::optimizer::Gradients;

use super::{Case, FAMILIES, Family, close, composed_scores, flat, hidden, on_large_stack, relative, targets};

/// Numbers without a pattern between -1 and 1.
fn noise(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i as f32 * 12.9898).sin() * 43758.547).fract()).collect()
}

fn noise_like(t: &Tensor) -> Tensor {
    Tensor::from_vec(noise(t.elem_count()), t.shape(), &Device::Cpu).unwrap()
}

/// All cases in one batch: text-only, one image, two images, different sizes and lengths.
fn batch<'a>(cases: &'a [Case], model: &dyn VisionLanguageModel) -> Batch {
    let rows: Vec<&'a Sequence> = cases.iter().map(|c| &c.row).collect();
    Batch::new(&rows, model.info()).unwrap()
}

#[test]
fn gradients_block_by_block_equal_those_of_the_whole_graph() {
    on_large_stack(|| {
        for family in FAMILIES {
            let folder = family.open();
            let model = folder.model(View::Tracked).unwrap();
            let cases = family.cases();
            let batch = batch(&cases, model.as_ref());
            let features = model.features(&batch).unwrap();
            let plain = model.forward(&batch, features.as_ref(), None, &mut Capture::none()).unwrap();
            let slope = noise_like(&plain);
            let whole = Gradients::of(&(&plain * &slope).unwrap().sum_all().unwrap(), folder.parameters()).unwrap();

            let mut tape = Tape::recording();
            let states = model.forward_on(&batch, &mut tape).unwrap();
            assert!(!states.track_op(), "nothing may keep the graph");
            assert_eq!(flat(&states), flat(&plain));
            let mut parts = Gradients::default();
            tape.backward(&states, slope, |store| parts.collect(store, folder.parameters())).unwrap();

            let head = usize::from(folder.parameters().vars().contains_key("lm_head.weight"));
            assert_eq!(whole.tensors().len(), folder.parameters().vars().len() - head);
            assert_eq!(parts.tensors().len(), whole.tensors().len());
            for (name, gradient) in whole.tensors() {
                let worst = relative(gradient, &parts.tensors()[name]);
                assert!(worst <= 1e-5, "{family:?} {name}: {worst}");
            }
        }
    });
}

/// Where nothing is trained, a tape keeps nothing and gives no gradient.
#[test]
fn frozen_blocks_are_not_kept() {
    let family = FAMILIES[2];
    let folder = family.open();
    let model = folder.model(View::Detached).unwrap();
    let cases = family.cases();
    let batch = batch(&cases, model.as_ref());
    let mut tape = Tape::recording();
    let states = model.forward_on(&batch, &mut tape).unwrap();
    let mut pieces = 0;
    let take = |_: &candle_core::backprop::GradStore| {
        pieces += 1;
        Ok::<(), TrainError>(())
    };
    tape.backward(&states, noise_like(&states), take).unwrap();
    assert_eq!(pieces, 0);
}

struct Scored {
    logprobs: Vec<f64>,
    entropy: Vec<f64>,
    by_hidden: Tensor,
    gradients: Gradients,
}

/// Scores and gradients with so many logits at a time; the derivatives are noise.
fn chunked(family: Family, temperature: f64, logits_at_once: usize) -> (Tensor, Vec<TokenTarget>, Scored) {
    let folder = family.open();
    let model = folder.model(View::Tracked).unwrap();
    let cases = family.cases();
    let rows: Vec<&Sequence> = cases.iter().map(|c| &c.row).collect();
    let (batch, states) = hidden(model.as_ref(), &rows, &mut Capture::none());
    let states = states.detach();
    let targets = targets(&cases.iter().collect::<Vec<_>>(), &batch);
    let vocabulary = Vocabulary::plain(temperature).with_logits_at_once(logits_at_once);
    let scores = token_scores(model.as_ref(), &states, &targets, &vocabulary, true).unwrap();
    let slopes = noise(2 * targets.len());
    let (logprobs, entropy) = slopes.split_at(targets.len());
    let slopes = ScoreGradients { logprobs, entropy: Some(entropy) };
    let mut gradients = Gradients::default();
    let by_hidden = scores_backward(model.as_ref(), &states, &targets, &vocabulary, &slopes, |store| {
        gradients.collect(store, folder.parameters())
    });
    let by_hidden = by_hidden.unwrap();
    (states, targets, Scored { logprobs: scores.logprobs, entropy: scores.entropy, by_hidden, gradients })
}

#[test]
fn scores_in_chunks_equal_the_composed_form_in_value_and_gradient() {
    on_large_stack(|| {
        for family in FAMILIES {
            for temperature in [1.0, 0.7] {
                let folder = family.open();
                let model = folder.model(View::Tracked).unwrap();
                let size = model.info().vocab_size;
                let (states, targets, whole) = chunked(family, temperature, usize::MAX);
                let leaf = candle_core::Var::from_tensor(&states).unwrap();
                let (logprobs, entropy) = composed_scores(model.as_ref(), leaf.as_tensor(), &targets, temperature);
                let slopes = noise(2 * targets.len());
                let slopes = Tensor::new(slopes.as_slice(), &Device::Cpu).unwrap();
                let both = Tensor::cat(&[&logprobs, &entropy], 0).unwrap();
                let store = (both * slopes).unwrap().sum_all().unwrap().backward().unwrap();
                let mut composed = Gradients::default();
                composed.collect(&store, folder.parameters()).unwrap();
                assert_eq!(composed.tensors().len(), 1, "the head alone");
                for logits in [usize::MAX, 3 * size, 1] {
                    let (_, _, found) = chunked(family, temperature, logits);
                    let single = |values: &[f64]| values.iter().map(|v| *v as f32).collect::<Vec<_>>();
                    close("logprobs", &single(&found.logprobs), &flat(&logprobs), 1e-5);
                    close("entropy", &single(&found.entropy), &flat(&entropy), 1e-5);
                    assert!(relative(store.get(leaf.as_tensor()).unwrap(), &found.by_hidden) <= 1e-5);
                    assert!(relative(&whole.by_hidden, &found.by_hidden) <= 1e-5);
                    for (name, gradient) in composed.tensors() {
                        let worst = relative(gradient, &found.gradients.tensors()[name]);
                        assert!(worst <= 1e-5, "{family:?} {name}: {worst}");
                    }
                }
            }
        }
    });
}

/// Placeholders have no probability and get no gradient.
#[test]
fn masked_tokens_get_no_gradient() {
    on_large_stack(|| {
        let family = FAMILIES[1];
        let folder = family.open();
        let model = folder.model(View::Tracked).unwrap();
        let case = family.case("p1_single");
        let (batch, states) = hidden(model.as_ref(), &[&case.row], &mut Capture::none());
        let targets = targets(&[&case], &batch);
        let vocabulary = Vocabulary::rollout(model.info(), 1.0);
        let slopes = noise(targets.len());
        let slopes = ScoreGradients { logprobs: &slopes, entropy: Some(&slopes) };
        let mut gradients = Gradients::default();
        scores_backward(model.as_ref(), &states, &targets, &vocabulary, &slopes, |store| {
            gradients.collect(store, folder.parameters())
        })
        .unwrap();
        let head = gradients.tensors()["lm_head.weight"].to_vec2::<f32>().unwrap();
        let info = model.info();
        for id in &info.placeholders {
            assert!(head[*id as usize].iter().all(|v| *v == 0.0));
        }
        assert!(head.iter().flatten().all(|v| v.is_finite()));
        assert!(head.iter().flatten().any(|v| *v != 0.0));
    });
}

#[test]
fn a_seed_gives_the_gradient_it_holds() {
    let x = candle_core::Var::from_tensor(&Tensor::arange(0_f32, 6.0, &Device::Cpu).unwrap()).unwrap();
    let y = x.as_tensor().reshape((2, 3)).unwrap().sqr().unwrap();
    let slope = noise_like(&y);
    let seed = seeded(&y, &slope).unwrap();
    assert_eq!((seed.rank(), seed.dtype()), (0, DType::F32));
    let found = seed.backward().unwrap();
    let want = (&y * &slope).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(flat(found.get(x.as_tensor()).unwrap()), flat(want.get(x.as_tensor()).unwrap()));
}
