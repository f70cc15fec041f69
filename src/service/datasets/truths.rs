//! Which rewards can read the ground truths of a data set: one that cannot gives 0 to every response, without a word.

use std::collections::BTreeMap;

use serde_json::json;

use crate::data::Example;
use crate::reward::{self, Reward, RewardInput};

/// Rewards that need truths of a form of their own.
const PARTICULAR: [&str; 3] = ["iou", "numeric", "choice"];
/// Longer truths are not looked at: none of these forms is as long.
const LONGEST: usize = 4096;

/// Counts rows whose truth a reward takes for the right answer when it is the response.
pub(super) struct TruthCounter {
    rewards: Vec<(&'static str, Box<dyn Reward>, u64)>,
}

impl TruthCounter {
    pub(super) fn new() -> Self {
        let built = PARTICULAR.into_iter().filter_map(|name| {
            let spec = serde_json::from_value(json!({ "type": name })).ok()?;
            Some((name, reward::build(&spec).ok()?, 0))
        });
        Self { rewards: built.collect() }
    }

    pub(super) fn add(&mut self, example: &Example) {
        let sizes: Vec<[u32; 2]> = example.images.iter().map(|image| [image.width(), image.height()]).collect();
        for (_, reward, rows) in &mut self.rewards {
            let is_read = |truth: &String| {
                let judged =
                    RewardInput { response: truth, ground_truth: truth, image_sizes: &sizes, ..RewardInput::default() };
                truth.len() <= LONGEST && reward.judge(judged).accuracy > 0.5
            };
            *rows += u64::from(example.answers.iter().any(is_read));
        }
    }

    /// Rows by the name of the reward.
    pub(super) fn report(&self) -> BTreeMap<String, u64> {
        self.rewards.iter().map(|(name, _, rows)| ((*name).to_owned(), *rows)).collect()
    }
}
