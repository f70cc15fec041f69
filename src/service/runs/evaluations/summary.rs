//! What the rows of an evaluation add up to, by tag and along the responses.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Missing;
use super::index::{RowFacts, RowIndex};
use crate::domain::eval_row::Along;
use crate::domain::spec::RowSplit;
use crate::domain::statistics::{Estimate, accuracy};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

/// Most tags with figures of their own, the most frequent ones.
const MAX_TAGS: usize = 200;

/// An evaluation as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvaluationSummary {
    /// The run.
    pub run_id: String,
    /// The step of its training that was evaluated; null for a run of method `eval`.
    pub step: Option<u64>,
    /// Every step with an evaluation, in order.
    pub steps: Vec<u64>,
    /// The data set.
    pub dataset: String,
    /// Which of its rows.
    pub split: RowSplit,
    /// Rows that were answered.
    pub rows: u64,
    /// Rows with more right responses than wrong ones.
    pub right: u64,
    /// Other rows with a verdict.
    pub wrong: u64,
    /// Accuracy with its 95% interval, as in `eval/accuracy`; null where the reward does not judge answers.
    pub accuracy: Option<Interval>,
    /// Means over rows.
    pub means: RowMeans,
    /// Accuracy by tag, the most frequent tags first (200 at most).
    pub tags: Vec<TagAccuracy>,
    /// Visual focus along responses; null without images, and for rows of an earlier version.
    pub focus_along: Option<FocusAlong>,
}

/// A mean with its 95% interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl From<Estimate> for Interval {
    fn from(Estimate { mean, low, high }: Estimate) -> Self {
        Self { mean, low, high }
    }
}

/// Means over the rows that have the quantity; null where none has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RowMeans {
    /// Reward.
    pub reward: Option<f64>,
    /// Visual focus.
    pub focus: Option<f64>,
    /// Focus of the last third of a response over that of its first third.
    pub late_early: Option<f64>,
    /// Attention to the image.
    pub attention_image: Option<f64>,
    /// Dependence on the image, in nats; null where it was not measured (`eval.image_dependence`, audits).
    pub image_dependence: Option<f64>,
}

/// The rows with one tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TagAccuracy {
    /// The tag.
    pub tag: String,
    /// Rows that have it and a verdict.
    pub rows: u64,
    /// Their accuracy.
    pub accuracy: Interval,
    /// Their mean visual focus; null without images.
    pub focus: Option<f64>,
}

/// Mean visual focus by position in the response, in 16 parts of equal length; null for a part without a token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FocusAlong {
    /// Of all responses.
    pub all: Vec<Option<f64>>,
    /// Of right ones.
    pub right: Vec<Option<f64>>,
    /// Of wrong ones.
    pub wrong: Vec<Option<f64>>,
}

impl EvaluationSummary {
    /// Of a run without an evaluation so far.
    fn empty(run_id: String, dataset: String, split: RowSplit) -> Self {
        let means =
            RowMeans { reward: None, focus: None, late_early: None, attention_image: None, image_dependence: None };
        Self {
            run_id,
            step: None,
            steps: Vec::new(),
            dataset,
            split,
            rows: 0,
            right: 0,
            wrong: 0,
            accuracy: None,
            means,
            tags: Vec::new(),
            focus_along: None,
        }
    }
}

impl Runs {
    /// What the rows of an evaluation add up to: the one at `step`, or the newest one before it.
    pub async fn eval_summary(&self, run_id: &str, step: Option<u64>) -> Result<EvaluationSummary> {
        let evaluation = match self.look_for_evaluation(run_id, step).await? {
            Ok(evaluation) => evaluation,
            // It may still come: that is no conflict.
            Err(Missing { run, steps, dataset, split, .. }) if steps.is_empty() => {
                return Ok(EvaluationSummary::empty(run.id, dataset, split));
            }
            Err(missing) => return Err(ServiceError::Conflict(missing.why)),
        };
        let index = &evaluation.index;
        let count = |right| index.rows.iter().filter(|row| row.right() == Some(right)).count() as u64;
        let [all, right, wrong] = &index.along;
        Ok(EvaluationSummary {
            run_id: evaluation.run.id,
            step: evaluation.step,
            steps: evaluation.steps,
            dataset: evaluation.dataset,
            split: evaluation.split,
            rows: index.rows.len() as u64,
            right: count(true),
            wrong: count(false),
            accuracy: accuracy_of(index, index.rows.iter()),
            means: RowMeans {
                reward: mean_of(index.rows.iter(), |row| row.reward),
                focus: mean_of(index.rows.iter(), |row| row.focus.map(|focus| focus.mean)),
                late_early: mean_of(index.rows.iter(), RowFacts::late_early),
                attention_image: mean_of(index.rows.iter(), |row| row.attention_image.map(|image| image.mean)),
                image_dependence: mean_of(index.rows.iter(), |row| row.image_dependence.map(|image| image.mean)),
            },
            tags: by_tag(index),
            focus_along: (!all.is_empty()).then(|| FocusAlong {
                all: all.means(),
                right: Along::means(right),
                wrong: Along::means(wrong),
            }),
        })
    }
}

/// The accuracy of rows with its interval.
pub(super) fn accuracy_of<'a>(index: &RowIndex, rows: impl Iterator<Item = &'a RowFacts>) -> Option<Interval> {
    let rows: Vec<f64> = rows.filter_map(|row| row.accuracy).collect();
    accuracy(&rows, index.samples).map(Interval::from)
}

/// The mean over the rows that have a value.
pub(super) fn mean_of<'a>(
    rows: impl Iterator<Item = &'a RowFacts>,
    value: impl Fn(&RowFacts) -> Option<f64>,
) -> Option<f64> {
    let values: Vec<f64> = rows.filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn by_tag(index: &RowIndex) -> Vec<TagAccuracy> {
    let mut rows: Vec<Vec<&RowFacts>> = vec![Vec::new(); index.tags.len()];
    for row in index.rows.iter().filter(|row| row.accuracy.is_some()) {
        for tag in &row.tags {
            rows[*tag as usize].push(row);
        }
    }
    let mut tags: Vec<TagAccuracy> = index
        .tags
        .iter()
        .zip(rows)
        .filter_map(|(tag, rows)| {
            let accuracy = accuracy_of(index, rows.iter().copied())?;
            let focus = mean_of(rows.iter().copied(), |row| row.focus.map(|focus| focus.mean));
            Some(TagAccuracy { tag: tag.clone(), rows: rows.len() as u64, accuracy, focus })
        })
        .collect();
    tags.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.tag.cmp(&b.tag)));
    tags.truncate(MAX_TAGS);
    tags
}
