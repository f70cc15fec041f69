//! Reading fixtures and comparing numbers.

use serde_json::Value;
use vgpo::algorithm::{ScorePrecision, Trajectory, TrajectoryGroup};
use vgpo::domain::spec::{LossAverage, PolicySpec, Schedule, Variant, VgpoSpec};

pub fn fixture(folder: &str, name: &str) -> Value {
    let path = format!("{}/tests/fixtures/{folder}/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

pub fn names(folder: &str) -> Vec<String> {
    let dir = format!("{}/tests/fixtures/{folder}", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|f| f.unwrap().file_name().to_str().unwrap().strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    names
}

pub fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

pub fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(list).collect()
}

pub fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance, "{what}[{i}]: found {f}, expected {e}");
    }
}

/// Compares two JSON trees number by number.
pub fn assert_tree_close(what: &str, found: &Value, expected: &Value, tolerance: f64) {
    match (found, expected) {
        (Value::Number(f), Value::Number(e)) => {
            assert_close(what, &[f.as_f64().unwrap()], &[e.as_f64().unwrap()], tolerance);
        }
        (Value::Array(f), Value::Array(e)) => {
            assert_eq!(f.len(), e.len(), "{what}: length");
            f.iter()
                .zip(e)
                .enumerate()
                .for_each(|(i, (f, e))| assert_tree_close(&format!("{what}[{i}]"), f, e, tolerance));
        }
        (Value::Object(f), Value::Object(e)) => {
            let keys = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(f), keys(e), "{what}: keys");
            e.iter().for_each(|(k, e)| assert_tree_close(&format!("{what}.{k}"), &f[k], e, tolerance));
        }
        _ => panic!("{what}: found {found}, expected {expected}"),
    }
}

pub fn group(similarities: Vec<Vec<f64>>, rewards: &[f64]) -> TrajectoryGroup {
    let trajectories = similarities.into_iter().zip(rewards).map(|(similarity, &reward)| Trajectory {
        tokens: similarity.len(),
        similarity,
        reward,
        ..Trajectory::default()
    });
    TrajectoryGroup {
        has_image: true,
        precision: ScorePrecision::F64,
        trajectories: trajectories.collect(),
        ..TrajectoryGroup::default()
    }
}

/// A case of the released code, padding cut away.
pub struct Released {
    pub case: Value,
    pub lengths: Vec<usize>,
    pub uids: Vec<String>,
    pub rewards: Vec<f64>,
    /// Cosine of each response token's state and the mean state of the row's image tokens, rounded to f32; 0 without
    /// image.
    pub similarities: Vec<Vec<f64>>,
    pub image_tokens: Vec<usize>,
}

const IMAGE_ID: u64 = 7;

impl Released {
    pub fn read(name: &str) -> Self {
        let case = fixture("vgpo_released", name);
        let inputs = &case["inputs"];
        let prompt = inputs["P"].as_u64().unwrap() as usize;
        let lengths: Vec<usize> =
            rows(&inputs["response_mask"]).iter().map(|m| m.iter().sum::<f64>() as usize).collect();
        let uids = inputs["uid"].as_array().unwrap().iter().map(|u| u.as_str().unwrap().to_owned()).collect();
        let states: Vec<Vec<Vec<f64>>> = inputs["hidden_states"].as_array().unwrap().iter().map(rows).collect();
        let ids: Vec<Vec<u64>> =
            rows(&inputs["input_ids"]).iter().map(|r| r.iter().map(|v| *v as u64).collect()).collect();
        let image_tokens = ids.iter().map(|r| r.iter().filter(|id| **id == IMAGE_ID).count()).collect();
        let similarities = (0..lengths.len())
            .map(|row| {
                let image: Vec<&Vec<f64>> =
                    ids[row].iter().zip(&states[row]).filter(|(id, _)| **id == IMAGE_ID).map(|(_, s)| s).collect();
                (0..lengths[row]).map(|t| cosine_to_mean(&states[row][prompt + t], &image)).collect()
            })
            .collect();
        let rewards = list(&inputs["rewards"]);
        Self { case, lengths, uids, rewards, similarities, image_tokens }
    }

    /// A `[B, R]` list, padding cut away.
    pub fn ragged(&self, value: &Value) -> Vec<Vec<f64>> {
        rows(value)
            .into_iter()
            .zip(&self.lengths)
            .map(|(mut row, n)| {
                row.truncate(*n);
                row
            })
            .collect()
    }

    /// Row numbers of each prompt.
    pub fn prompts(&self) -> Vec<Vec<usize>> {
        let mut prompts: Vec<(String, Vec<usize>)> = Vec::new();
        for (row, uid) in self.uids.iter().enumerate() {
            match prompts.iter_mut().find(|(known, _)| known == uid) {
                Some((_, rows)) => rows.push(row),
                None => prompts.push((uid.clone(), vec![row])),
            }
        }
        prompts.into_iter().map(|(_, rows)| rows).collect()
    }

    pub fn group(&self, rows: &[usize]) -> TrajectoryGroup {
        let trajectories = rows.iter().map(|&row| Trajectory {
            tokens: self.lengths[row],
            similarity: self.similarities[row].clone(),
            reward: self.rewards[row],
            ..Trajectory::default()
        });
        TrajectoryGroup {
            has_image: rows.iter().all(|&row| self.image_tokens[row] > 0),
            precision: ScorePrecision::F32,
            trajectories: trajectories.collect(),
            ..TrajectoryGroup::default()
        }
    }

    pub fn spec(&self) -> VgpoSpec {
        let (config, loss) = (&self.case["config"], &self.case["loss_config"]);
        let number = |v: &Value, key: &str| v[key].as_f64().unwrap();
        let switch = |key: &str| config[key].as_bool().unwrap();
        let released = vgpo::config::method::vgpo(Variant::Released);
        VgpoSpec {
            beta: number(config, "visual_compensation_strength"),
            gamma: number(config, "gated_visual_compensation_start_ratio"),
            kappa: number(config, "visual_attention_threshold"),
            schedule: match config["visual_compensation_type"].as_str().unwrap() {
                "linear" => Schedule::Linear,
                "exponential" => Schedule::Exponential,
                "step-function" => Schedule::Step,
                other => panic!("{other}"),
            },
            exponent: number(config, "visual_compensation_exponent"),
            step: number(config, "visual_compensation_step_ratio"),
            compensation_start: number(config, "visual_compensation_start_ratio"),
            compensation: switch("use_visual_compensation"),
            gate: switch("use_gated_visual_compensation"),
            intra: switch("use_intra_trajectory_reweighting"),
            inter: switch("use_inter_trajectory_reweighting"),
            policy: PolicySpec {
                clip_low: number(loss, "clip_ratio_low"),
                clip_high: number(loss, "clip_ratio_high"),
                dual_clip: Some(number(loss, "clip_ratio_dual")),
                loss_average: if loss["loss_avg_mode"] == "seq" { LossAverage::Sequence } else { LossAverage::Token },
                ..released.policy
            },
            ..released
        }
    }
}

fn cosine_to_mean(state: &[f64], image: &[&Vec<f64>]) -> f64 {
    if image.is_empty() {
        return 0.0;
    }
    let mean: Vec<f64> =
        (0..state.len()).map(|d| image.iter().map(|s| s[d]).sum::<f64>() / image.len() as f64).collect();
    let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-8);
    let dot: f64 = state.iter().zip(&mean).map(|(a, b)| a * b).sum();
    f64::from((dot / (norm(state) * norm(&mean))) as f32)
}
