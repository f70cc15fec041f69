//! Scoring against the reference's numbers, and what hiding an image does.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use serde_json::{Value, json};
use vgpo::model::logprob::{TokenTarget, Vocabulary, token_scores};
use vgpo::model::{Batch, Capture, Sequence};
use vgpo::serving::answer::ScoredResponse;

use crate::model::QWEN2_5;

use super::{case, engine, fixture, generate, near, request, score};

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(fixture().join(name).join("tensors.safetensors"), &Device::Cpu).unwrap()
}

async fn scored(name: &str, more: Value) -> ScoredResponse {
    let mut fields = json!({"responses": [case(name).0["response_text"].clone()]});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    score(&engine(), &request(name, fields)).await.unwrap().responses.remove(0)
}

#[tokio::test]
async fn log_probs_and_focus_are_the_references() {
    for name in ["p1_single", "p2_large", "p3_two_images", "p4_text"] {
        let response = scored(name, json!({})).await;
        let tensors = tensors(name);
        let ids: Vec<i32> = tensors["response_ids"].to_vec1().unwrap();
        assert_eq!(response.tokens.iter().map(|t| t.id as i32).collect::<Vec<_>>(), ids, "{name}");
        let want: Vec<f32> = tensors["response_logprobs"].to_vec1().unwrap();
        // Resized images move log-probs a little; those of the right size do not.
        let (logprob, similarity) = if name == "p2_large" { (1.5e-2, 2e-3) } else { (2e-4, 2e-5) };
        for (token, want) in response.tokens.iter().zip(&want) {
            near(name, token.logprob, f64::from(*want), logprob);
        }
        near("sum", response.logprob, response.tokens.iter().map(|t| t.logprob).sum(), 1e-9);
        let Some(rho) = tensors.get("vgpo.rho") else {
            assert!(name == "p4_text" && response.tokens.iter().all(|t| t.focus.is_none() && t.similarity.is_none()));
            assert_eq!((response.visual, response.visual_accumulation, response.phi), (None, None, 0.0));
            continue;
        };
        for (token, want) in response.tokens.iter().zip(rho.to_vec1::<f32>().unwrap()) {
            // The reference's file calls the raw cosine `rho`.
            near(name, token.similarity.unwrap(), f64::from(want), similarity);
            near(name, token.focus.unwrap(), 0.5 * (token.similarity.unwrap() + 1.0), 1e-12);
        }
        let last = response.tokens.last().unwrap();
        assert_eq!(last.text, "<|im_end|>", "special tokens of a response are recognised");
    }
}

/// An empty sum is -0.0 in Rust, which reads as a mistake in an answer.
#[tokio::test]
async fn without_images_their_share_of_attention_is_zero() {
    for token in scored("p4_text", json!({})).await.tokens {
        let shares = serde_json::to_string(&token.attention).unwrap();
        assert!(shares.starts_with("{\"image\":0.0,"), "{shares}");
    }
    let answer = generate(&engine(), &request("p4_text", json!({"max_new_tokens": 3}))).await.unwrap();
    for token in &answer.choices[0].tokens {
        assert!(token.attention.image.is_sign_positive() && token.attention.generated.is_sign_positive(), "{token:?}");
    }
}

#[tokio::test]
async fn attention_is_that_of_the_predicting_position() {
    let (case, _) = case("p1_single");
    let prompt = case["prompt_len"].as_u64().unwrap() as usize;
    let input: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
    let tensors = tensors("p1_single");
    let layers: Vec<Vec<Vec<Vec<f32>>>> =
        (0..3).map(|l| tensors[&format!("attn.layer{l}")].to_vec3().unwrap()).collect();
    let value = |query: usize, key: usize| -> f64 {
        let all = layers.iter().flat_map(|heads| heads.iter().map(|h| f64::from(h[query][key])));
        all.sum::<f64>() / 12.0
    };
    let response = scored("p1_single", json!({"attention": {"maps": "tokens"}})).await;
    for (t, token) in response.tokens.iter().enumerate() {
        let query = prompt + t - 1;
        let image: Vec<f64> = (0..prompt).filter(|k| input[*k] == 535).map(|k| value(query, k)).collect();
        let generated: f64 = (prompt..=query).map(|k| value(query, k)).sum();
        near("image share", token.attention.image, image.iter().sum(), 1e-5);
        near("generated share", token.attention.generated, generated, 1e-5);
        near("query share", token.attention.query, 1.0 - generated - image.iter().sum::<f64>(), 1e-5);
        let map = response.attention.tokens[t].maps[0].values.as_ref().unwrap().concat();
        map.iter().zip(&image).for_each(|(got, want)| near("map", f64::from(*got), *want, 1e-5));
        assert_eq!(map.len(), image.len());
    }
}

#[tokio::test]
async fn similarity_maps_are_cosines_of_states() {
    let (case, _) = case("p3_two_images");
    let prompt = case["prompt_len"].as_u64().unwrap() as usize;
    let input: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
    let hidden: Vec<Vec<f32>> = tensors("p3_two_images")["last_hidden_state"].to_vec2().unwrap();
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let image: Vec<usize> = (0..prompt).filter(|k| input[*k] == 535).collect();
    let response = scored("p3_two_images", json!({"attention": {"maps": "tokens", "source": "similarity"}})).await;
    for (t, maps) in response.attention.tokens.iter().enumerate() {
        let values: Vec<f32> = maps.maps.iter().flat_map(|m| m.values.clone().unwrap().concat()).collect();
        assert_eq!((maps.maps.len(), values.len()), (2, image.len()));
        for (got, slot) in values.iter().zip(&image) {
            near("cosine", f64::from(*got), cosine(&hidden[prompt + t], &hidden[*slot]), 1e-4);
        }
    }
}

fn group(more: Value) -> Value {
    let responses = ["<think>The side is 14.</think> \\boxed{196}<|im_end|>", "It is 5.<|im_end|>", "red square"];
    let mut fields = json!({"responses": responses});
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request("p1_single", fields)
}

#[tokio::test]
async fn rewards_add_what_the_method_makes_of_them() {
    let engine = engine();
    let answer = score(&engine, &group(json!({"rewards": [1.0, 0.0, 0.0]}))).await.unwrap();
    let spec = vgpo::config::method::vgpo(vgpo::domain::spec::Variant::Paper);
    let trajectories = answer.responses.iter().zip([1.0, 0.0, 0.0]).map(|(r, reward)| vgpo::algorithm::Trajectory {
        tokens: r.tokens.len(),
        similarity: r.tokens.iter().map(|t| t.similarity.unwrap()).collect(),
        reward,
        ..vgpo::algorithm::Trajectory::default()
    });
    let group_of = vgpo::algorithm::TrajectoryGroup {
        has_image: true,
        precision: vgpo::algorithm::ScorePrecision::F32,
        trajectories: trajectories.collect(),
        ..vgpo::algorithm::TrajectoryGroup::default()
    };
    let want = vgpo::algorithm::vgpo::shape(&group_of, &spec).unwrap();
    for (response, want) in answer.responses.iter().zip(&want.trajectories) {
        assert_eq!((response.advantage, response.phi), (Some(want.advantage), want.phi));
        assert_eq!(response.visual_accumulation, Some(want.visual_accumulation));
        for (t, token) in response.tokens.iter().enumerate() {
            assert_eq!((token.gate, token.psi), (Some(want.gate[t]), Some(want.psi[t])));
            assert_eq!(token.compensated_focus, Some(want.compensated_focus[t]));
            assert_eq!(token.shaped_advantage, Some(want.shaped_advantage[t]));
        }
    }
    assert!(answer.responses[0].advantage.unwrap() > 1.0 && answer.responses[1].advantage.unwrap() < 0.0);
    assert!(answer.responses.iter().any(|r| r.phi.abs() > 1e-3));
    let switched = json!({"rewards": [1.0, 0.0, 0.0], "method": {"type": "vgpo", "intra": false, "beta": 0.0}});
    let off = score(&engine, &group(switched)).await.unwrap();
    assert!(off.responses.iter().all(|r| r.tokens.iter().all(|t| t.psi == Some(0.0))));
    assert!(off.responses[0].visual_accumulation < answer.responses[0].visual_accumulation);
}

#[tokio::test]
async fn without_rewards_there_is_no_credit() {
    let answer = score(&engine(), &group(json!({}))).await.unwrap();
    let value = serde_json::to_value(&answer).unwrap();
    let token = &value["responses"][0]["tokens"][0];
    for absent in ["gate", "psi", "shaped_advantage", "compensated_focus", "delta_logprob"] {
        assert!(token.get(absent).is_none(), "{absent}");
    }
    assert!(value["responses"][0]["advantage"].is_null());
    assert!(answer.responses[0].visual_accumulation.unwrap() > 0.0);
    assert_eq!(answer.usage.completion_tokens, answer.responses.iter().map(|r| r.tokens.len()).sum::<usize>());
}

#[tokio::test]
async fn predicting_focus_is_one_state_earlier() {
    let reading = scored("p1_single", json!({})).await;
    let predicting = scored("p1_single", json!({"method": {"type": "vgpo", "focus_position": "predicting"}})).await;
    for (r, p) in reading.tokens.iter().zip(&predicting.tokens[1..]) {
        near("focus", p.focus.unwrap(), r.focus.unwrap(), 1e-9);
    }
}

fn deltas(response: &ScoredResponse) -> Vec<f64> {
    response.tokens.iter().map(|t| t.delta_logprob.unwrap()).collect()
}

fn hidden(response: &ScoredResponse) -> usize {
    response.hidden_cells.as_ref().unwrap().iter().map(Vec::len).sum()
}

#[tokio::test]
async fn hiding_the_image_moves_log_probs_and_hiding_nothing_does_not() {
    let image = scored("p2_large", json!({"ablate": "image"})).await;
    let cells = hidden(&image);
    assert!(deltas(&image).iter().any(|d| d.abs() > 1e-3), "{:?}", deltas(&image));
    for nothing in [json!({"top_patches": 0.0}), json!({"random_patches": 0, "seed": 4})] {
        let response = scored("p2_large", json!({"ablate": nothing})).await;
        assert_eq!(hidden(&response), 0);
        assert!(deltas(&response).iter().all(|d| *d == 0.0));
    }
    for everything in [json!({"top_patches": 1.0}), json!({"random_patches": 1.0})] {
        let response = scored("p2_large", json!({"ablate": everything})).await;
        assert_eq!((hidden(&response), deltas(&response)), (cells, deltas(&image)));
    }
    let text = scored("p4_text", json!({"ablate": "image"})).await;
    assert!(deltas(&text).iter().all(|d| *d == 0.0));
}

#[tokio::test]
async fn top_patches_are_the_most_attended_and_random_ones_follow_the_seed() {
    let top = scored("p2_large", json!({"ablate": {"top_patches": 0.25}, "attention": {"maps": "summary"}})).await;
    let map = top.attention.summary[0].values.as_ref().unwrap().concat();
    let count = (map.len() as f64 * 0.25).ceil() as usize;
    let cells = &top.hidden_cells.as_ref().unwrap()[0];
    assert_eq!(cells.len(), count);
    let coldest_hidden = cells.iter().map(|c| map[*c]).fold(f32::INFINITY, f32::min);
    let seen = (0..map.len()).filter(|c| !cells.contains(c));
    assert!(seen.map(|c| map[c]).all(|value| value <= coldest_hidden + 1e-7));
    let random = async |seed: u64| {
        let response = scored("p2_large", json!({"ablate": {"random_patches": 0.25, "seed": seed}})).await;
        response.hidden_cells.unwrap()[0].clone()
    };
    let first = random(1).await;
    assert_eq!((first.len(), &first), (count, &random(1).await));
    assert_ne!(first, random(2).await);
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]), "each cell once: {first:?}");
}

#[tokio::test]
async fn a_long_response_is_scored_in_parts_as_in_one() {
    let (case, _) = case("p4_text");
    let prompt = case["prompt_len"].as_u64().unwrap() as usize;
    let mut ids: Vec<u32> = serde_json::from_value(case["input_ids"].clone()).unwrap();
    ids.truncate(prompt);
    let response = scored("p4_text", json!({"responses": ["It is 5. ".repeat(120)]})).await;
    assert!(response.tokens.len() > 2 * 256, "{} tokens are not several parts", response.tokens.len());
    ids.extend(response.tokens.iter().map(|token| token.id));

    let model = QWEN2_5.detached();
    let batch = Batch::new(&[&Sequence { ids, images: Vec::new() }], model.info()).unwrap();
    let layers = model.info().layers;
    let mut capture = Capture::attention((0..layers).collect(), prompt - 1);
    let hidden = model.forward(&batch, None, None, &mut capture).unwrap();
    let targets: Vec<TokenTarget> = (prompt - 1..)
        .zip(&response.tokens)
        .map(|(slot, token)| TokenTarget { slot: slot as u32, token: token.id })
        .collect();
    let want = token_scores(model.as_ref(), &hidden, &targets, &Vocabulary::plain(1.0), false).unwrap().logprobs;
    // Attention on what was generated, of each head of each layer: `[heads, queries, keys]`.
    let attention: Vec<Vec<Vec<Vec<f32>>>> =
        capture.attention.iter().map(|layer| layer.get(0).unwrap().to_vec3().unwrap()).collect();
    for (t, token) in response.tokens.iter().enumerate() {
        near("log-prob", token.logprob, want[t], 1e-4);
        let heads = attention.iter().flatten();
        let sums = heads.clone().map(|head| head[t][prompt..].iter().map(|share| f64::from(*share)).sum::<f64>());
        near("share", token.attention.generated, sums.sum::<f64>() / heads.count() as f64, 1e-5);
    }
}
