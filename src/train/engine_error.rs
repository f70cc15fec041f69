//! Why an engine on other servers cannot sample.

/// Ids that are shown before and after the first difference.
const SHOWN: usize = 24;

/// Why an engine on other servers cannot sample.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A setting that cannot work with this server.
    #[error("`rollout.engine.{field}`: {problem}")]
    Setting {
        /// The field below `rollout.engine`.
        field: &'static str,
        /// What is wrong, and how to fix it.
        problem: String,
    },
    /// The server reads a prompt as other tokens.
    #[error(
        "{url} reads the prompt of row {row} as other tokens, so its chat template, tokenizer, image processor or \
         limits of pixels differ from the model's (set the same `min_pixels` and `max_pixels`, and serve the folder \
         that is trained): {difference}"
    )]
    PromptIds {
        /// The server.
        url: String,
        /// The row of the data set.
        row: u64,
        /// Both lists.
        difference: Difference,
    },
    /// The server answers with other weights than those that were published.
    #[error(
        "{url} answers with weights `{found}` although `{wanted}` were published: another job publishes to it, or it \
         was started anew with other weights; give each job servers of its own, or use `sync`: \"adapter\""
    )]
    Version {
        /// The server.
        url: String,
        /// The version that was published.
        wanted: String,
        /// The version that the server names.
        found: String,
    },
    /// The servers' log-probs cannot come from the weights that were published.
    #[error(
        "step {step}: the servers' log-probs are not those of the weights that were published (mean KL {kl:.2}): they \
         serve another model, or other weights; serve the folder that is trained"
    )]
    OtherWeights {
        /// The step.
        step: u64,
        /// Mean KL from sampler to trainer.
        kl: f64,
    },
    /// The server refused a request for a reason that stays.
    #[error("{url}: {problem}")]
    Refused {
        /// The server.
        url: String,
        /// What it said.
        problem: String,
    },
    /// Weights could not be written to the shared folder.
    #[error("`rollout.engine.shared_dir`: {0}")]
    Folder(String),
    /// No server answered for as long as the job waits.
    #[error("no server samples: {0}")]
    Unreachable(String),
    /// The caller no longer waits.
    #[error("sampling was stopped")]
    Stopped,
}

impl EngineError {
    /// May another attempt succeed?
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Folder(_) | Self::Stopped)
    }
}

/// Two lists of token ids that should be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The trainer's.
    pub ours: Vec<u32>,
    /// The server's.
    pub theirs: Vec<u32>,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ours, theirs } = self;
        let at = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count();
        let (ours, theirs) = (around(ours, at), around(theirs, at));
        write!(f, "from token {at} on the trainer has {ours}, the server {theirs}")
    }
}

/// The ids around `at`, runs of one id as `id*count`, and how many there are in all.
fn around(ids: &[u32], at: usize) -> String {
    let mut runs: Vec<(usize, u32, usize)> = Vec::new();
    for (index, id) in ids.iter().enumerate() {
        match runs.last_mut() {
            Some((_, last, count)) if last == id => *count += 1,
            _ => runs.push((index, *id, 1)),
        }
    }
    let first = runs.iter().rposition(|(index, ..)| *index <= at).unwrap_or(0).saturating_sub(SHOWN / 2);
    let shown = runs.iter().skip(first).take(SHOWN);
    let shown: Vec<String> =
        shown.map(|(_, id, count)| if *count > 1 { format!("{id}*{count}") } else { id.to_string() }).collect();
    let (before, after) = (if first > 0 { "… " } else { "" }, if first + SHOWN < runs.len() { " …" } else { "" });
    format!("[{before}{}{after}] ({} ids)", shown.join(" "), ids.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_both_lists_around_its_place() {
        let ours = [vec![1, 2], vec![9; 16], vec![3]].concat();
        let theirs = [vec![1, 2], vec![9; 4], vec![3]].concat();
        let told = Difference { ours, theirs }.to_string();
        let expected = "from token 6 on the trainer has [1 2 9*16 3] (19 ids), the server [1 2 9*4 3] (7 ids)";
        assert_eq!(told, expected);
        let long: Vec<u32> = (0..1000).collect();
        let told = Difference { ours: long.clone(), theirs: long[..999].to_vec() }.to_string();
        assert!(told.contains("from token 999 on") && told.len() < 400, "{told}");
    }
}
