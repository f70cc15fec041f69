//! Two evaluations of the same rows: which rows got better and worse, and by how much, with intervals over pairs.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};
use utoipa::ToSchema;

use super::Evaluation;
use super::index::RowFacts;
use super::page::wrong_cursor;
use super::summary::Interval;
use crate::domain::eval_row::EvalResponse;
use crate::domain::spec::RowSplit;
use crate::domain::statistics::{Estimate, paired_share};
use crate::service::runs::Runs;
use crate::service::runs::compare::half_width;
use crate::service::{Result, ServiceError};

/// Which evaluations to compare, and which of their rows to show.
#[derive(Debug, Clone, Default)]
pub struct PairQuery {
    /// The other run.
    pub with: String,
    /// The newest evaluation at this step or before; none: the newest one.
    pub step: Option<u64>,
    /// The same for the other run.
    pub with_step: Option<u64>,
    /// Only rows of these kinds; none: all.
    pub changes: Vec<Change>,
    /// Rows per page.
    pub limit: u32,
    /// The row to continue after: the `next` of the page before.
    pub after: Option<u64>,
}

/// What became of a row between the two evaluations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Wrong in the first, right in the second.
    Fixed,
    /// Right in the first, wrong in the second.
    Broken,
    /// Right in both.
    BothRight,
    /// Wrong in both.
    BothWrong,
    /// One of them has no verdict.
    Unjudged,
}

impl Change {
    /// Every kind with its name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("fixed", Self::Fixed),
        ("broken", Self::Broken),
        ("both_right", Self::BothRight),
        ("both_wrong", Self::BothWrong),
        ("unjudged", Self::Unjudged),
    ];

    fn of(first: &RowFacts, second: &RowFacts) -> Self {
        match (first.right(), second.right()) {
            (Some(false), Some(true)) => Self::Fixed,
            (Some(true), Some(false)) => Self::Broken,
            (Some(true), Some(true)) => Self::BothRight,
            (Some(false), Some(false)) => Self::BothWrong,
            _ => Self::Unjudged,
        }
    }
}

/// Two evaluations of the same rows. Differences are those of the second, `b`, less the first, `a`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EvalComparison {
    /// The first.
    pub a: ComparedEvaluation,
    /// The second.
    pub b: ComparedEvaluation,
    /// The data set of both.
    pub dataset: String,
    /// Which of its rows.
    pub split: RowSplit,
    /// Rows that both have answered: what follows is of these alone.
    pub rows: u64,
    /// How many of them became what.
    pub changes: ChangeCounts,
    /// The two-sided p-value of the exact test of `McNemar`: how likely fixed and broken rows differ at least as much in
    /// number if both models are equally good. Null where no row changed.
    pub p_value: Option<f64>,
    /// Paired differences of accuracy, focus, late over early focus, attention to the image, and reward, as far as they
    /// were measured.
    pub differences: Vec<PairedDifference>,
    /// A page of the rows, in the order of the data set.
    pub data: Vec<PairedRow>,
    /// Are there more rows?
    pub has_more: bool,
    /// Value of `after` for the next page; null on the last page.
    pub next: Option<String>,
}

/// One side of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ComparedEvaluation {
    /// The run.
    pub run_id: String,
    /// Its name.
    pub name: String,
    /// The model that it evaluates, or started from.
    pub model: String,
    /// The step of its training that was evaluated; null for a run of method `eval`.
    pub step: Option<u64>,
    /// Every step with an evaluation, in order.
    pub steps: Vec<u64>,
    /// Rows that it has answered.
    pub rows: u64,
}

/// Numbers of rows by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeCounts {
    /// Wrong in the first, right in the second.
    pub fixed: u64,
    /// Right in the first, wrong in the second.
    pub broken: u64,
    /// Right in both.
    pub both_right: u64,
    /// Wrong in both.
    pub both_wrong: u64,
    /// One of them has no verdict.
    pub unjudged: u64,
}

/// A quantity over the rows that have it in both evaluations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairedDifference {
    /// `accuracy`, `focus`, `late_early`, `attention_image`, `image_dependence` or `reward`.
    pub measure: String,
    /// Rows.
    pub rows: u64,
    /// Mean of the first.
    pub a: f64,
    /// Mean of the second.
    pub b: f64,
    /// Mean of the differences by row, with its 95% interval: that of Bonett and Price for accuracy, Student's t for
    /// the others; null with fewer than two rows.
    pub difference: Option<Interval>,
}

/// One row with the responses of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairedRow {
    /// Row of the data set.
    pub row: u64,
    /// What became of it.
    pub change: Change,
    /// The row's labels.
    pub tags: Vec<String>,
    /// The row's question.
    pub prompt: String,
    /// The ground truth.
    pub answer: String,
    /// Responses of the first.
    pub a: Vec<EvalResponse>,
    /// Responses of the second.
    pub b: Vec<EvalResponse>,
}

/// A row that both have answered: its place in each.
type Pair = (usize, usize);

/// A quantity by name, and what a row has of it.
type Measure = (&'static str, fn(&RowFacts) -> Option<f64>);

/// What is compared; accuracy first.
const MEASURES: [Measure; 6] = [
    ("accuracy", |row| row.accuracy),
    ("focus", |row| row.focus.map(|focus| focus.mean)),
    ("late_early", RowFacts::late_early),
    ("attention_image", |row| row.attention_image.map(|image| image.mean)),
    ("image_dependence", |row| row.image_dependence.map(|image| image.mean)),
    ("reward", |row| row.reward),
];

impl Runs {
    /// Compares two evaluations row by row.
    pub async fn compare_evaluations(&self, run_id: &str, query: PairQuery) -> Result<EvalComparison> {
        let a = self.evaluation(run_id, query.step).await?;
        let b = self.evaluation(&query.with, query.with_step.or(query.step)).await?;
        same_rows(&a, &b)?;
        self.previews.run(move |_| compared(a, b, &query)).await
    }
}

/// Refuses evaluations of different data.
fn same_rows(a: &Evaluation, b: &Evaluation) -> Result<()> {
    if (&a.dataset, a.split) == (&b.dataset, b.split) {
        return Ok(());
    }
    let of = |one: &Evaluation| {
        let rows = if one.split == RowSplit::Eval { "held-out rows" } else { "training rows" };
        format!("run `{}` answered {rows} of data set `{}`", one.run.id, one.dataset)
    };
    Err(ServiceError::Conflict(format!(
        "only answers to the same rows can be compared: {}, {}; evaluate one of them on the rows of the other with a \
         job of method `eval`",
        of(a),
        of(b)
    )))
}

/// The rows that both have, in order.
fn pairs(a: &Evaluation, b: &Evaluation) -> Result<Vec<Pair>> {
    let (mut pairs, mut theirs) = (Vec::new(), b.index.rows.iter().enumerate().peekable());
    for (mine, first) in a.index.rows.iter().enumerate() {
        while theirs.next_if(|(_, second)| second.row < first.row).is_some() {}
        let Some((place, second)) = theirs.next_if(|(_, second)| second.row == first.row) else { continue };
        if first.content != second.content {
            return Err(ServiceError::Conflict(format!(
                "row {} is not the same question in runs `{}` and `{}`: data set `{}` has changed between the two \
                 evaluations; evaluate again",
                first.row, a.run.id, b.run.id, a.dataset
            )));
        }
        pairs.push((mine, place));
    }
    if pairs.is_empty() {
        return Err(ServiceError::Conflict(format!(
            "runs `{}` and `{}` have no row of data set `{}` in common",
            a.run.id, b.run.id, a.dataset
        )));
    }
    Ok(pairs)
}

fn compared(a: Evaluation, b: Evaluation, query: &PairQuery) -> Result<EvalComparison> {
    let pairs = pairs(&a, &b)?;
    let facts = |(mine, theirs): &Pair| (&a.index.rows[*mine], &b.index.rows[*theirs]);
    let change = |pair: &Pair| {
        let (first, second) = facts(pair);
        Change::of(first, second)
    };
    let mut changes = ChangeCounts::default();
    for pair in &pairs {
        *changes.of(change(pair)) += 1;
    }
    let both: Vec<(&RowFacts, &RowFacts)> = pairs.iter().map(facts).collect();
    let differences = MEASURES.iter().filter_map(|measure| difference(*measure, &both)).collect();
    let start = match query.after {
        None => 0,
        Some(row) if both.binary_search_by_key(&row, |(first, _)| first.row).is_err() => return Err(wrong_cursor(row)),
        Some(row) => both.partition_point(|(first, _)| first.row <= row),
    };
    let limit = query.limit as usize;
    let wanted = pairs[start..].iter().filter(|pair| query.changes.is_empty() || query.changes.contains(&change(pair)));
    let mut shown: Vec<Pair> = wanted.take(limit + 1).copied().collect();
    let has_more = shown.len() > limit;
    shown.truncate(limit);
    let data = paired_rows(&a, &b, &shown, change)?;
    let next = data.last().filter(|_| has_more).map(|last| last.row.to_string());
    Ok(EvalComparison {
        rows: pairs.len() as u64,
        changes,
        p_value: mcnemar(changes.fixed, changes.broken),
        differences,
        data,
        has_more,
        next,
        dataset: a.dataset.clone(),
        split: a.split,
        a: side(a),
        b: side(b),
    })
}

fn paired_rows(
    a: &Evaluation,
    b: &Evaluation,
    shown: &[Pair],
    change: impl Fn(&Pair) -> Change,
) -> Result<Vec<PairedRow>> {
    let first = a.index.load(&shown.iter().map(|pair| pair.0).collect::<Vec<_>>())?;
    let second = b.index.load(&shown.iter().map(|pair| pair.1).collect::<Vec<_>>())?;
    let rows = first.into_iter().zip(second).zip(shown).map(|((first, second), pair)| PairedRow {
        row: first.row,
        change: change(pair),
        tags: first.tags,
        prompt: first.prompt,
        answer: first.answer,
        a: first.responses,
        b: second.responses,
    });
    Ok(rows.collect())
}

fn side(of: Evaluation) -> ComparedEvaluation {
    let Evaluation { run, step, steps, index, .. } = of;
    let rows = index.rows.len() as u64;
    ComparedEvaluation { run_id: run.id, name: run.name, model: run.model, step, steps, rows }
}

impl ChangeCounts {
    fn of(&mut self, change: Change) -> &mut u64 {
        match change {
            Change::Fixed => &mut self.fixed,
            Change::Broken => &mut self.broken,
            Change::BothRight => &mut self.both_right,
            Change::BothWrong => &mut self.both_wrong,
            Change::Unjudged => &mut self.unjudged,
        }
    }
}

/// A measure over the rows that have it twice; none where no row does.
fn difference((measure, value): Measure, pairs: &[(&RowFacts, &RowFacts)]) -> Option<PairedDifference> {
    let values: Vec<(f64, f64)> = pairs.iter().filter_map(|(a, b)| Some((value(a)?, value(b)?))).collect();
    let count = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let differences: Vec<f64> = values.iter().map(|(a, b)| b - a).collect();
    let estimate = if measure == MEASURES[0].0 { paired_share(&differences) } else { by_student(&differences) };
    Some(PairedDifference {
        measure: measure.to_owned(),
        rows: values.len() as u64,
        a: values.iter().map(|(a, _)| a).sum::<f64>() / count,
        b: values.iter().map(|(_, b)| b).sum::<f64>() / count,
        difference: estimate.map(Interval::from),
    })
}

fn by_student(differences: &[f64]) -> Option<Estimate> {
    let mean = differences.iter().sum::<f64>() / differences.len() as f64;
    half_width(differences, mean).map(|half| Estimate { mean, low: mean - half, high: mean + half })
}

/// The exact test of `McNemar`, two-sided: the smaller number of `fixed + broken` fair coins.
fn mcnemar(fixed: u64, broken: u64) -> Option<f64> {
    let changed = fixed + broken;
    let coins = Binomial::new(0.5, changed).ok().filter(|_| changed > 0)?;
    Some((2.0 * coins.cdf(fixed.min(broken))).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_exact() {
        // 2 · (1 + 10) / 2^10 by hand, and ties are no evidence at all.
        let p = mcnemar(9, 1).unwrap();
        assert!((p - 22.0 / 1024.0).abs() < 1e-12, "{p}");
        assert!((mcnemar(1, 9).unwrap() - p).abs() < 1e-12);
        assert_eq!(mcnemar(0, 0), None);
        for (fixed, broken) in [(5, 5), (1, 0)] {
            assert!((mcnemar(fixed, broken).unwrap() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn differences_of_measures_are_paired() {
        assert_eq!(by_student(&[0.5]), None);
        let found = by_student(&[1.0, 2.0, 3.0]).unwrap();
        // t with two degrees of freedom: 4.302653.
        assert!((found.mean - 2.0).abs() < 1e-12);
        assert!((found.high - (2.0 + 4.302_652_73 / 3.0_f64.sqrt())).abs() < 1e-6, "{found:?}");
    }
}
