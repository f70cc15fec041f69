//! The masked view: what a response depends on the image for, and PAPO's gradient through both passes.

use std::sync::Arc;

use serde_json::json;
use vgpo::algorithm;
use vgpo::model::hide::hide_at_random;
use vgpo::model::logprob::{TokenTarget, Vocabulary, gradient_variance};
use vgpo::model::sampler::stream;
use vgpo::model::{Batch, Capture, ImagePatches, Sequence};
use vgpo::train::train_sequence::TrainSequence;

use super::scene::Scene;
use super::{prompts, spec};

impl Scene {
    /// Rows whose images are `masked` by the given function; the last row has no masked view.
    fn rows(&self, masked: impl Fn(&[Arc<ImagePatches>]) -> Vec<Arc<ImagePatches>>) -> Vec<TrainSequence> {
        let (prompts, _) = prompts(self.tracked.info(), &spec(&json!({})), 0..4);
        let rows = prompts.iter().enumerate().map(|(i, prompt)| {
            let response: Vec<u32> = (0..3 + i as u32).map(|t| 5 + t).collect();
            let prompt = &prompt.sequence;
            TrainSequence {
                input: Sequence { ids: [&prompt.ids[..], &response].concat(), images: prompt.images.clone() },
                masked_images: (i < 3).then(|| masked(&prompt.images)),
                prompt_len: prompt.ids.len(),
                old_logprobs: vec![-1.0; response.len()],
                advantages: vec![0.0; response.len()],
                ..TrainSequence::default()
            }
        });
        rows.collect()
    }
}

fn masks(images: &[Arc<ImagePatches>]) -> Vec<Arc<ImagePatches>> {
    hide_at_random(images, 0.6, &mut stream(&[7]))
}

#[test]
fn dependency_is_the_divergence_of_the_two_passes() {
    let scene = Scene::starter();
    let learner = scene.learner(1 << 20);
    let rows = scene.rows(masks);
    let rows: Vec<&TrainSequence> = rows.iter().collect();
    let found = learner.dependency(&rows).unwrap();
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [3, 4, 5, 0]);
    assert!(found[..3].iter().flatten().all(|d| *d >= 0.0));
    assert!(found[..3].iter().flatten().any(|d| *d > 1e-4), "hiding most of the image must matter somewhere");
    let cut = scene.learner(1).dependency(&rows).unwrap();
    for (a, b) in found.iter().flatten().zip(cut.iter().flatten()) {
        assert!((a - b).abs() < 1e-4, "micro-batching must not matter: {a}, {b}");
    }
    // Nothing hidden, nothing depends on it.
    let same = scene.rows(<[Arc<ImagePatches>]>::to_vec);
    let same: Vec<&TrainSequence> = same.iter().collect();
    assert!(learner.dependency(&same).unwrap().iter().flatten().all(|d| *d < 1e-9));
}

/// Drawing every token of a vocabulary with its probability gives the mean squared norm of the gradient by hand.
#[test]
fn the_gradients_variance_is_that_of_the_softmax() {
    let scene = Scene::starter();
    let model = scene.tracked.as_ref();
    let ids: Vec<u32> = (5..12).collect();
    let batch = Batch::new(&[&Sequence { ids: ids.clone(), images: Vec::new() }], model.info()).unwrap();
    let hidden = model.forward(&batch, None, None, &mut Capture::none()).unwrap();
    let targets: Vec<TokenTarget> = (0..6).map(|t| TokenTarget { slot: t, token: ids[t as usize + 1] }).collect();
    let found = gradient_variance(model, &hidden, &targets, &Vocabulary::plain(0.5)).unwrap();
    let logits: Vec<Vec<f32>> = model.logits(&hidden.detach().squeeze(0).unwrap()).unwrap().to_vec2().unwrap();
    for (found, logits) in found.iter().zip(&logits) {
        let exp: Vec<f64> = logits.iter().map(|logit| (f64::from(*logit) / 0.5).exp()).collect();
        let sum: f64 = exp.iter().sum();
        let p: Vec<f64> = exp.iter().map(|e| e / sum).collect();
        let squares: f64 = p.iter().map(|p| p * p).sum();
        let expected: f64 = p.iter().map(|p| p * ((1.0 - p).powi(2) + squares - p * p)).sum();
        assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
    }
    assert!(found.len() == 6 && found.iter().any(|variance| *variance > 1e-3), "{found:?}");
}

/// With advantages of 0 the whole gradient is that of PAPO's own terms: compared with finite differences of the loss
/// along that very direction, which fails unless both passes carry their part.
#[test]
fn papos_gradient_has_the_slope_of_its_loss() {
    let scene = Scene::starter();
    let learner = scene.learner(400);
    let rows = scene.rows(masks);
    let rows: Vec<&TrainSequence> = rows.iter().collect();
    let method = json!({ "method": {
        "type": "papo", "perception_coef": 0.5, "entropy_penalty": 0.1, "masked_entropy_penalty": 0.2,
    } });
    let papo = algorithm::build(&spec(&method).method).unwrap();
    let output = learner.gradients(&rows, papo.as_ref()).unwrap();
    assert_eq!(output.policy_loss, 0.0);
    let norm = output.gradients.norm().unwrap();
    assert!(norm > 0.0);
    let loss_at = |offset: f64| {
        let step = |size: f64| {
            for (name, gradient) in output.gradients.tensors() {
                let var = &scene.folder.parameters().vars()[name];
                var.set(&(var.as_detached_tensor() + (gradient * (size / norm)).unwrap()).unwrap()).unwrap();
            }
        };
        step(offset);
        let loss = learner.gradients(&rows, papo.as_ref()).unwrap().loss;
        step(-offset);
        loss
    };
    let size = 1e-3;
    let slope = (loss_at(size) - loss_at(-size)) / (2.0 * size);
    assert!((slope - norm).abs() < 0.02 * norm, "slope {slope}, gradient norm {norm}");
}
