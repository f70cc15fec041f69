//! From evaluated rows to metrics. Everything is computed from [`EvalRow`]s in their order, so that an evaluation that
//! was interrupted and resumes from its stored rows ends with the same numbers.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use crate::domain::eval_row::{EvalResponse, EvalRow, Thirds};
use crate::domain::metric::{EVAL_ACCURACY, EVAL_IMAGE_DEPENDENCE};
use crate::domain::statistics::{accuracy, pass_at, pass_sizes};

use super::audit_metrics::AuditMetrics;
use super::metrics::{Metrics, ThirdsSum, mean};

/// Most tags with an accuracy of their own; of more tags, the most frequent ones have it.
const MAX_TAGS: usize = 32;
/// Most different tags that are counted at all.
const MAX_COUNTED_TAGS: usize = 10_000;
/// Longer tags are cut in metric keys.
const MAX_TAG_CHARS: usize = 64;

/// Sums over rows, from which the `eval/…` metrics are computed.
#[derive(Debug, Default)]
pub(super) struct EvalMetrics {
    samples: usize,
    /// Rows with a verdict.
    judged: u64,
    /// Accuracy of each row that has one.
    rows: Vec<f64>,
    /// Samples and correct samples of each row.
    counts: Vec<(usize, usize)>,
    tags: BTreeMap<String, (usize, f64)>,
    unjudged: u64,
    lengths: Vec<f64>,
    tokens: u64,
    cut_off: usize,
    rewards: Vec<f64>,
    format: Vec<f64>,
    all: VisualMetrics,
    right: VisualMetrics,
    wrong: VisualMetrics,
    audit: AuditMetrics,
}

impl EvalMetrics {
    /// Metrics of an evaluation with `samples` responses a row.
    pub(super) fn new(samples: u64) -> Self {
        Self { samples: samples as usize, ..Self::default() }
    }

    /// Adds a row. A row without any verdict only adds to the number of responses without one.
    pub(super) fn add(&mut self, row: &EvalRow) {
        self.unjudged += row.unjudged;
        if row.responses.is_empty() {
            return;
        }
        self.judged += 1;
        row.responses.iter().for_each(|response| self.add_response(response));
        let accuracies: Vec<f64> = row.responses.iter().filter_map(|response| response.accuracy).collect();
        if accuracies.is_empty() {
            return;
        }
        let right = row.responses.iter().filter(|response| response.correct == Some(true)).count();
        let share = mean(&accuracies);
        self.rows.push(share);
        self.counts.push((accuracies.len(), right));
        for tag in &row.tags {
            if self.tags.len() < MAX_COUNTED_TAGS || self.tags.contains_key(tag) {
                let (rows, sum) = self.tags.entry(tag.clone()).or_default();
                *rows += 1;
                *sum += share;
            }
        }
    }

    fn add_response(&mut self, response: &EvalResponse) {
        self.lengths.push(response.tokens as f64);
        self.tokens += response.tokens;
        self.cut_off += usize::from(response.cut_off);
        self.rewards.push(response.reward);
        self.format.extend(response.reward_parts.get("format"));
        self.audit.add(response);
        self.all.add(response);
        match response.correct {
            Some(true) => self.right.add(response),
            Some(false) => self.wrong.add(response),
            None => {}
        }
    }

    /// Responses so far.
    pub(super) fn responses(&self) -> u64 {
        self.lengths.len() as u64
    }

    /// Their tokens.
    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Every `eval/…` metric; those without a measurement are left out.
    pub(super) fn metrics(&self) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.set("eval/rows", self.judged as f64);
        if self.unjudged > 0 {
            metrics.set("eval/unjudged", self.unjudged as f64);
        }
        if self.judged == 0 {
            return metrics;
        }
        if let Some(estimate) = accuracy(&self.rows, self.samples) {
            metrics.set(EVAL_ACCURACY, estimate.mean);
            metrics.set("eval/accuracy_low", estimate.low);
            metrics.set("eval/accuracy_high", estimate.high);
        }
        metrics.set("eval/reward", mean(&self.rewards));
        metrics.set("eval/response_length", mean(&self.lengths));
        metrics.set("eval/cut_off", self.cut_off as f64 / self.lengths.len() as f64);
        if !self.format.is_empty() {
            metrics.set("eval/format", mean(&self.format));
        }
        self.pass_metrics(&mut metrics);
        self.tag_metrics(&mut metrics);
        for (visual, suffix) in [(&self.all, ""), (&self.right, "_right"), (&self.wrong, "_wrong")] {
            visual.metrics(suffix, &mut metrics);
        }
        self.audit.metrics(&mut metrics);
        metrics
    }

    fn pass_metrics(&self, metrics: &mut Metrics) {
        if self.samples < 2 {
            return;
        }
        for k in pass_sizes(self.samples) {
            let rows: Vec<f64> = self.counts.iter().filter_map(|(n, right)| pass_at(*n, *right, k)).collect();
            if !rows.is_empty() {
                metrics.set(format!("eval/pass_at_{k}"), mean(&rows));
            }
        }
    }

    fn tag_metrics(&self, metrics: &mut Metrics) {
        let mut tags: Vec<(&String, &(usize, f64))> = self.tags.iter().collect();
        tags.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(b.0)));
        for (tag, (rows, sum)) in tags.into_iter().take(MAX_TAGS) {
            let tag = tag_in_keys(tag);
            metrics.set(format!("eval/accuracy/{tag}"), sum / *rows as f64);
            metrics.set(format!("eval/rows/{tag}"), *rows as f64);
        }
    }
}

/// A tag as part of metric keys: a long one is cut and ends in a hash of the whole tag, so that two tags never share a
/// key.
fn tag_in_keys(tag: &str) -> String {
    if tag.chars().count() <= MAX_TAG_CHARS {
        return tag.to_owned();
    }
    let digest = format!("{:x}", Sha256::digest(tag.as_bytes()));
    let hash = &digest[..8];
    let head: String = tag.chars().take(MAX_TAG_CHARS - hash.len() - 1).collect();
    format!("{head}~{hash}")
}

/// Visual focus of responses, their attention to the image, and what they depend on it for.
#[derive(Debug, Default)]
struct VisualMetrics {
    focus: ThirdsSum,
    attention: ThirdsSum,
    dependence: ThirdsSum,
}

impl VisualMetrics {
    fn add(&mut self, response: &EvalResponse) {
        let tokens = response.tokens as usize;
        self.focus.add(response.focus, tokens);
        self.attention.add(response.attention_image, tokens);
        self.dependence.add(response.dependence(), tokens);
    }

    fn metrics(&self, suffix: &str, metrics: &mut Metrics) {
        for (name, sum) in [("focus", &self.focus), ("attention_image", &self.attention)] {
            let Some(Thirds { mean, early, late }) = sum.mean() else { continue };
            for (part, value) in [("mean", mean), ("early", early), ("late", late)] {
                metrics.set(format!("eval/{name}_{part}{suffix}"), value);
            }
        }
        if let Some(Thirds { mean, early, late }) = self.dependence.mean() {
            for (part, value) in [("", mean), ("_early", early), ("_late", late)] {
                metrics.set(format!("{EVAL_IMAGE_DEPENDENCE}{part}{suffix}"), value);
            }
        }
        if let Some(Thirds { early, late, .. }) = self.focus.mean().filter(|focus| focus.early > 0.0) {
            metrics.set(format!("eval/late_early_ratio{suffix}"), late / early);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(correct: bool, focus: &[f64]) -> EvalResponse {
        EvalResponse {
            text: String::new(),
            tokens: focus.len() as u64,
            cut_off: !correct,
            correct: Some(correct),
            accuracy: Some(f64::from(u8::from(correct))),
            reward: 0.5,
            reward_parts: BTreeMap::new(),
            extracted: None,
            focus: Thirds::of(focus),
            attention_image: None,
            focus_along: None,
            image_dependence: None,
            audit: None,
        }
    }

    fn row(row: u64, tags: &[&str], responses: Vec<EvalResponse>) -> EvalRow {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        EvalRow { row, tags, prompt: String::new(), answer: String::new(), responses, unjudged: 0 }
    }

    fn of(samples: u64, rows: &[EvalRow]) -> BTreeMap<String, f64> {
        let mut sums = EvalMetrics::new(samples);
        for row in rows {
            sums.add(row);
        }
        sums.metrics().into_values()
    }

    #[test]
    fn accuracy_is_measured_by_tag_and_over_all_rows() {
        let answer = |correct| vec![response(correct, &[0.5; 3])];
        let rows = [row(0, &["a", "b"], answer(true)), row(1, &["a"], answer(false)), row(2, &[], answer(true))];
        let metrics = of(1, &rows);
        assert_eq!((metrics["eval/accuracy"], metrics["eval/rows"]), (2.0 / 3.0, 3.0));
        assert_eq!((metrics["eval/accuracy/a"], metrics["eval/rows/a"]), (0.5, 2.0));
        assert_eq!((metrics["eval/accuracy/b"], metrics["eval/rows/b"]), (1.0, 1.0));
        assert_eq!(metrics["eval/cut_off"], 1.0 / 3.0);
        assert!(!metrics.keys().any(|key| key.starts_with("eval/pass")), "one sample has no pass@k");
    }

    #[test]
    fn only_the_most_frequent_tags_have_metrics() {
        let mut rows: Vec<EvalRow> =
            (0..100).map(|i| row(i, &[&format!("tag{i:03}")], vec![response(true, &[0.5])])).collect();
        rows.push(row(100, &["tag099"], vec![response(false, &[0.5])]));
        let metrics = of(1, &rows);
        assert_eq!(metrics.keys().filter(|key| key.starts_with("eval/accuracy/")).count(), MAX_TAGS);
        assert_eq!(metrics["eval/accuracy/tag099"], 0.5);
    }

    #[test]
    fn long_tags_that_begin_alike_have_different_keys() {
        let (one, two) = (format!("{}a", "x".repeat(70)), format!("{}b", "x".repeat(70)));
        let rows = [row(0, &[&one], vec![response(true, &[0.5])]), row(1, &[&two], vec![response(false, &[0.5])])];
        let metrics = of(1, &rows);
        let keys: Vec<&String> = metrics.keys().filter(|key| key.starts_with("eval/accuracy/")).collect();
        assert!(
            keys.len() == 2 && keys.iter().all(|key| key.len() <= "eval/accuracy/".len() + MAX_TAG_CHARS),
            "{keys:?}"
        );
    }

    #[test]
    fn visual_metrics_weigh_tokens_and_are_split_by_correctness() {
        let rows = [row(0, &[], vec![response(true, &[0.8, 0.6, 0.4]), response(false, &[0.2; 6])])];
        let metrics = of(2, &rows);
        let close = |key: &str, value: f64| assert!((metrics[key] - value).abs() < 1e-12, "{key}: {}", metrics[key]);
        close("eval/focus_mean", (1.8 + 1.2) / 9.0);
        close("eval/focus_early", (0.8 + 0.4) / 3.0);
        close("eval/late_early_ratio_right", 0.5);
        close("eval/late_early_ratio_wrong", 1.0);
        close("eval/pass_at_1", 0.5);
        close("eval/pass_at_2", 1.0);
        assert!(!metrics.contains_key("eval/attention_image_mean"), "attention was not measured");
    }

    #[test]
    fn a_reward_without_accuracy_yields_no_accuracy() {
        let graded = EvalResponse { correct: None, accuracy: None, ..response(true, &[0.5]) };
        let metrics = of(2, &[row(0, &["a"], vec![graded.clone(), graded])]);
        assert_eq!((metrics["eval/rows"], metrics["eval/reward"]), (1.0, 0.5));
        let of_answers = ["eval/accuracy", "eval/pass", "eval/rows/"];
        assert!(!metrics.keys().any(|key| of_answers.iter().any(|name| key.starts_with(name))), "{metrics:?}");
        assert!(!metrics.keys().any(|key| key.ends_with("_right") || key.ends_with("_wrong")), "{metrics:?}");
    }

    #[test]
    fn responses_without_a_verdict_count_nowhere() {
        let empty = EvalRow { unjudged: 2, ..row(1, &["a"], Vec::new()) };
        let metrics = of(2, &[row(0, &[], vec![response(true, &[0.5]), response(true, &[0.5])]), empty.clone()]);
        assert_eq!((metrics["eval/accuracy"], metrics["eval/rows"], metrics["eval/unjudged"]), (1.0, 1.0, 2.0));
        let none = of(2, &[empty]);
        assert_eq!(none.keys().collect::<Vec<_>>(), ["eval/rows", "eval/unjudged"]);
    }
}
