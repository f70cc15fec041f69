//! Every objective, estimator and term trains on the real model.

use serde_json::{Value, json};
use vgpo::algorithm::{self, Algorithm};
use vgpo::domain::method::NAMES;
use vgpo::model::Sequence;
use vgpo::reward::webhook::Question;
use vgpo::reward::{RewardError, WebhookClient};
use vgpo::train::RunEnd;
use vgpo::train::train_sequence::TrainSequence;

use super::scene::Scene;
use super::{Recorder, prompts, run, spec};

fn tiny(change: Value) -> Value {
    let mut job = json!({
        "batch": { "prompts_per_step": 4, "minibatch_prompts": 2 },
        "rollout": { "group_size": 4, "max_new_tokens": 40, "filter": null },
        "optimizer": { "warmup_steps": 0 }, "steps": 1, "eval_every": 0, "eval_rows": 4, "eval_before": false,
        "seed": 3,
    });
    for (key, value) in change.as_object().unwrap() {
        match job.get_mut(key).and_then(Value::as_object_mut) {
            Some(section) => section.extend(value.as_object().unwrap().clone()),
            None => job[key] = value.clone(),
        }
    }
    job
}

fn one_step(change: Value) -> Recorder {
    let dir = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::default();
    let end = run(&spec(&tiny(change.clone())), dir.path(), None, &mut recorder).unwrap();
    assert!(matches!(end, RunEnd::Finished { .. }), "{change}");
    for (key, value) in recorder.metrics.iter().flat_map(|m| &m.values) {
        assert!(value.is_finite(), "{change}: {key} is {value}");
    }
    recorder
}

#[test]
fn every_method_trains() {
    for method in NAMES.into_iter().filter(|method| *method != "eval") {
        let recorder = one_step(json!({ "method": { "type": method } }));
        assert!(recorder.last("optimizer/grad_norm") > 0.0, "{method} must move the weights");
        if method != "sft" {
            assert!((recorder.last("rollout/ratio_mean") - 1.0).abs() < 1e-3, "{method}");
            assert!(recorder.last("rollout/kl").abs() < 1e-3, "sampler and trainer agree on one machine");
        }
    }
}

#[test]
fn estimators_terms_and_corrections_train() {
    let base = one_step(json!({ "method": { "type": "dapo" } })).last("optimizer/grad_norm");
    for change in [
        json!({ "method": { "type": "dapo", "estimator": "rloo" } }),
        json!({ "method": { "type": "dapo", "estimator": "dr_grpo" } }),
        json!({ "method": { "type": "dapo", "estimator": "gdpo" } }),
        json!({ "method": { "type": "vgpo", "estimator": "reinforce++" } }),
        json!({ "method": { "type": "dapo", "entropy_coef": 0.1 } }),
        json!({ "method": { "type": "dapo", "overlong_buffer": 20 } }),
        json!({ "method": { "type": "dapo" }, "rollout": { "correction_cap": 0.5 } }),
    ] {
        let norm = one_step(change.clone()).last("optimizer/grad_norm");
        assert!((norm - base).abs() > 1e-7, "{change} changes nothing");
    }
    let overlong = one_step(json!({ "method": { "type": "dapo", "overlong_buffer": 20 } }));
    assert!(overlong.last("reward/overlong/mean") < 0.0);
}

#[test]
fn controls_of_vgpo_train_in_their_own_way() {
    let of = |control: Value| one_step(json!({ "method": { "type": "vgpo", "control": control } }));
    let (plain, shuffled, oracle) = (of(Value::Null), of("shuffled".into()), of("oracle".into()));
    let norms = [&plain, &shuffled, &oracle].map(|run| run.last("optimizer/grad_norm"));
    assert!(norms[0] != norms[1] && norms[1] != norms[2] && norms[0] != norms[2], "{norms:?}");
    assert_eq!(norms[1], of("shuffled".into()).last("optimizer/grad_norm"), "the seed decides the permutation");
    for key in ["visual/token_weight_min", "visual/token_weight_max", "visual/trajectory_weight_max"] {
        assert_eq!(plain.last(key), shuffled.last(key), "{key}: the same weights");
    }
    assert!(oracle.last("visual/dependency_max") > 0.0);
    assert!((oracle.last("visual/focus_mean") - plain.last("visual/focus_mean")).abs() < 1e-4, "the logs keep focus");
}

#[test]
fn truncated_responses_carry_no_loss_where_they_are_masked() {
    for method in ["vgpo", "papo"] {
        let job = |masked: bool| {
            // The bonus has a gradient whatever the rewards are.
            one_step(json!({ "method": { "type": method, "entropy_coef": 0.1 },
                "rollout": { "max_new_tokens": 6, "mask_truncated": masked } }))
        };
        let masked = job(true);
        assert_eq!(masked.last("response_length/cut_off"), 1.0, "no answer has six tokens");
        assert_eq!(masked.last("batch/masked_share"), 1.0, "{method}");
        assert_eq!((masked.last("optimizer/grad_norm"), masked.last("loss/total")), (0.0, 0.0), "{method}");
        let plain = job(false);
        assert!(plain.last("optimizer/grad_norm") > 0.0, "{method}");
        assert!(!plain.metrics.iter().any(|m| m.values.contains_key("batch/masked_share")), "{method}");
    }
    // The same responses without the last token of the longest: that one is truncated, and the shortest is not.
    let whole = one_step(json!({ "method": { "type": "dapo" } }));
    let limit = whole.last("response_length/max") as u64 - 1;
    assert!(whole.last("response_length/min") < limit as f64);
    let rollout = json!({ "max_new_tokens": limit, "mask_truncated": true });
    let some = one_step(json!({ "method": { "type": "dapo" }, "rollout": rollout }));
    let share = some.last("batch/masked_share");
    assert!(share > 0.0 && share < 1.0 && some.last("optimizer/grad_norm") > 0.0, "{share}");
    assert_eq!(share, some.last("response_length/cut_off"), "no group was dropped");
}

/// The first update starts at the reference itself; the second has moved away from it.
#[test]
fn the_kl_term_compares_with_the_model_the_job_began_with() {
    let recorder = one_step(
        json!({ "method": { "type": "grpo", "kl_coef": 0.1 }, "steps": 3, "optimizer": { "learning_rate": 1e-3 } }),
    );
    let of = |step: u64| recorder.metrics.iter().find(|m| m.step == step).unwrap().values["policy/reference_kl"];
    assert!(of(1) < of(3), "{} at first, {} later", of(1), of(3));
    assert!(of(3) > 1e-4);
}

/// The entropy bonus enters the gradient as minus its coefficient times the slope of the mean entropy: compared with
/// finite differences along that very direction.
#[test]
fn the_entropy_bonus_has_the_slope_of_the_entropy() {
    let scene = Scene::starter();
    let learner = scene.learner(200);
    let (prompts, _) = prompts(learner.tracked.info(), &spec(&json!({})), 0..3);
    let row = |prompt: &Sequence| TrainSequence {
        input: Sequence { ids: [&prompt.ids[..], &[5, 6, 7, 8]].concat(), images: prompt.images.clone() },
        prompt_len: prompt.ids.len(),
        old_logprobs: vec![-1.0; 4],
        advantages: vec![0.0; 4],
        ..TrainSequence::default()
    };
    let rows: Vec<TrainSequence> = prompts.iter().map(|p| row(&p.sequence)).collect();
    let rows: Vec<&TrainSequence> = rows.iter().collect();
    // All advantages are 0: nothing but the bonus has a gradient.
    let with = |coef: f64| -> Box<dyn Algorithm> {
        algorithm::build(&spec(&json!({ "method": { "type": "dapo", "entropy_coef": coef } })).method).unwrap()
    };
    assert_eq!(learner.gradients(&rows, with(0.0).as_ref()).unwrap().gradients.norm().unwrap(), 0.0);
    let gradients = learner.gradients(&rows, with(0.5).as_ref()).unwrap().gradients;
    let norm = gradients.norm().unwrap();
    let entropy = || {
        let scored = learner.score(&rows).unwrap();
        let all: Vec<f64> = scored.iter().flat_map(|s| s.entropy.clone()).collect();
        all.iter().sum::<f64>() / all.len() as f64
    };
    let step = |size: f64| {
        for (name, gradient) in gradients.tensors() {
            let var = &scene.folder.parameters().vars()[name];
            let moved = (var.as_detached_tensor() + (gradient * (size / norm)).unwrap()).unwrap();
            var.set(&moved).unwrap();
        }
    };
    let size = 1e-3;
    step(size);
    let ahead = entropy();
    step(-2.0 * size);
    let behind = entropy();
    let slope = (ahead - behind) / (2.0 * size);
    assert!((slope * -0.5 - norm).abs() < 0.02 * norm, "slope {slope}, gradient norm {norm}");
}

/// A webhook that likes later samples, names what it was asked, and leaves the second response of every prompt out.
#[derive(Default)]
struct Forgetful {
    batches: std::sync::Mutex<Vec<String>>,
}

impl WebhookClient for Forgetful {
    fn check(&self, _url: &str) -> Result<(), RewardError> {
        Ok(())
    }

    fn ask(&self, question: &Question<'_>) -> Result<Vec<u8>, RewardError> {
        self.batches.lock().unwrap().push(question.batch.to_owned());
        let request: Value = serde_json::from_slice(question.body).unwrap();
        let items =
            request["items"].as_array().unwrap().iter().filter(|item| !item["id"].as_str().unwrap().ends_with("-1"));
        let judged = items.map(|item| {
            let sample: f64 = item["id"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
            json!({ "id": item["id"], "reward": 0.1 + sample / 10.0 })
        });
        Ok(json!({ "items": judged.collect::<Vec<_>>() }).to_string().into_bytes())
    }
}

#[test]
fn a_response_without_a_verdict_leaves_its_group_and_the_step_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let hook = std::sync::Arc::new(Forgetful::default());
    let rewards = vgpo::reward::Backends { webhooks: Some(hook.clone()), ..Default::default() };
    let mut recorder = Recorder { rewards, ..Recorder::default() };
    let job = tiny(json!({ "method": { "type": "grpo" }, "reward": { "type": "webhook", "url": "http://x/" },
            "eval_before": true }));
    run(&spec(&job), dir.path(), None, &mut recorder).unwrap();
    assert_eq!(recorder.last("reward/unjudged"), 4.0, "one response of each of four prompts");
    assert!(recorder.events.iter().any(|(kind, text)| kind == "warning.unjudged" && text.contains("4 response(s)")));
    assert!(recorder.last("reward/webhook/mean") > 0.0 && recorder.last("optimizer/grad_norm") > 0.0);
    assert_eq!(*hook.batches.lock().unwrap(), ["run_test:0:eval-0", "run_test:1:0", "run_test:1:eval-0"]);
}

#[test]
fn a_checkpoint_that_compares_responses_with_images_is_one_part_of_a_reward() {
    let dir = tempfile::tempdir().unwrap();
    let image_text = Some(vgpo::similarity::Checkpoints::on(vgpo::domain::device::DeviceName::CPU));
    let rewards = vgpo::reward::Backends { image_text, ..Default::default() };
    let mut recorder = Recorder { rewards, ..Recorder::default() };
    let folder = crate::reward::image_text::fixtures().join("clip_tiny");
    let reward = json!({ "type": "weighted", "parts": [{ "weight": 0.5, "reward": { "type": "math" } },
        { "weight": 0.5, "reward": { "type": "image_text", "model": folder } }] });
    let job = tiny(json!({ "method": { "type": "grpo" }, "reward": reward, "eval_before": true }));
    run(&spec(&job), dir.path(), None, &mut recorder).unwrap();
    let (mean, math) = (recorder.last("reward/image_text/mean"), recorder.last("reward/math/mean"));
    assert!(mean.abs() > 1e-3 && mean.abs() < 1.0, "{mean}");
    assert!((recorder.last("reward/mean") - 0.5 * (mean + math)).abs() < 1e-6);
    assert!(recorder.last("optimizer/grad_norm") > 0.0);
}
