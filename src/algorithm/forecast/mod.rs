//! What visual weights are likely to gain with a model and a data set, by experiments on other tasks whose audits are
//! known. [`MAP`] is written by `scripts/experiment.py forecast` from the raw results in docs/experiments.

mod map;

use std::collections::BTreeMap;

use crate::domain::forecast::{Forecast, ForecastVerdict, GainForecast};

pub use map::MAP;

/// The arm whose forecast is the verdict.
const WEIGHTS: &str = "vgpo";
/// The arm that weighs by the true dependency.
const CEILING: &str = "oracle-intra";
/// How much better the predicting state has to find dependent tokens for a hint to say so.
const BETTER_AUC: f64 = 0.05;
/// A range is the gain and this number of errors on either side.
const ERRORS: f64 = 2.0;

/// Experiments on several tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Map<'a> {
    /// The ways to weigh that were compared with DAPO.
    pub arms: &'a [Arm<'a>],
    /// The tasks.
    pub cells: &'a [Cell<'a>],
    /// How a forecast is made: what was closer for the tasks that were left out in turn.
    pub rule: Rule,
    /// Steps of the runs.
    pub steps: u32,
}

/// A way to weigh, over all tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arm<'a> {
    /// Its name in the experiment.
    pub name: &'a str,
    /// Pairs of runs, its own and DAPO's, of all tasks.
    pub pairs: u32,
    /// Points of accuracy over DAPO: the mean over the pairs, and the ends of the 95% interval.
    pub gain: [f64; 3],
    /// How far forecasts for a task were off that were made from the others: root of the mean square, in points.
    pub error: f64,
}

/// A task that was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell<'a> {
    /// Its dials.
    pub name: &'a str,
    /// What the audit of its starter had said.
    pub audit: Position,
    /// Mean gain over DAPO in points, by arm.
    pub gains: &'a [f64],
}

/// How a forecast is made from the measured tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The mean over all of them: the audit tells nothing that would have been closer.
    Mean,
    /// The one whose audit is closest.
    Nearest,
}

/// What of an audit is compared between tasks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Rank correlation of focus with dependency.
    pub spearman: f64,
    /// Share of the last third's tokens that depend on the image.
    pub dependent_late: f64,
    /// Share of the gradient's variance on tokens that do not depend on the image.
    pub independent_gradient: f64,
}

impl Position {
    /// From the metrics of an audit; none where one of them is missing.
    pub fn of(metrics: &BTreeMap<String, f64>) -> Option<Self> {
        let of = |key: &str| metrics.get(key).copied();
        Some(Self {
            spearman: of("audit/spearman")?,
            dependent_late: of("audit/dependent_late")?,
            independent_gradient: of("audit/independent_gradient")?,
        })
    }

    fn values(self) -> [f64; 3] {
        [self.spearman, self.dependent_late, self.independent_gradient]
    }
}

/// The task whose audit is closest; none where nothing was measured.
pub fn nearest<'m, 'a>(map: &'m Map<'a>, audit: Position) -> Option<&'m Cell<'a>> {
    let distance = |cell: &&Cell<'_>| -> f64 {
        let gaps = audit.values().into_iter().zip(cell.audit.values());
        gaps.map(|(a, b)| (a - b) * (a - b)).sum()
    };
    map.cells.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// The forecast for what an audit measured; `metrics` are its `audit/…` values.
pub fn forecast(map: &Map<'_>, metrics: &BTreeMap<String, f64>) -> Forecast {
    let unknown = |text: &str| Forecast {
        verdict: ForecastVerdict::Unknown,
        text: text.to_owned(),
        gains: Vec::new(),
        cells: map.cells.len() as u64,
    };
    if map.cells.is_empty() {
        return unknown("No forecast: the map is not measured.");
    }
    let Some(audit) = Position::of(metrics) else {
        return unknown("No forecast: focus and dependency were the same for all tokens.");
    };
    let gains = gains(map, audit);
    let verdict = gains.iter().find(|gain| gain.arm == WEIGHTS).map_or(ForecastVerdict::Unknown, verdict_of);
    let sentences =
        [Some(likely(verdict, &gains)), Some(evidence(map)), ceiling(map), outside(map, audit), better_state(metrics)];
    let text = sentences.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Forecast { verdict, text, gains, cells: map.cells.len() as u64 }
}

fn gains(map: &Map<'_>, audit: Position) -> Vec<GainForecast> {
    let cells: Vec<&Cell<'_>> = match map.rule {
        Rule::Mean => map.cells.iter().collect(),
        Rule::Nearest => nearest(map, audit).into_iter().collect(),
    };
    let of_arm = |(index, arm): (usize, &Arm<'_>)| {
        let measured: Vec<f64> = cells.iter().filter_map(|cell| cell.gains.get(index).copied()).collect();
        let gain = measured.iter().sum::<f64>() / measured.len().max(1) as f64;
        let around = ERRORS * arm.error;
        GainForecast { arm: arm.name.to_owned(), gain, low: gain - around, high: gain + around }
    };
    map.arms.iter().enumerate().map(of_arm).collect()
}

fn verdict_of(gain: &GainForecast) -> ForecastVerdict {
    if gain.low > 0.0 {
        ForecastVerdict::Help
    } else if gain.high < 0.0 {
        ForecastVerdict::Hurt
    } else {
        ForecastVerdict::Nothing
    }
}

fn likely(verdict: ForecastVerdict, gains: &[GainForecast]) -> String {
    let word = match verdict {
        ForecastVerdict::Help => "likely to help",
        ForecastVerdict::Hurt => "likely to hurt",
        ForecastVerdict::Nothing => "likely to do nothing that could be told from 0",
        ForecastVerdict::Unknown => return "No forecast: VGPO was not measured.".to_owned(),
    };
    let ranges: Vec<String> = gains
        .iter()
        .map(|GainForecast { arm, gain, low, high }| format!("{arm} {gain:+.1} ({low:+.1} to {high:+.1})"))
        .collect();
    format!("Visual weights are {word}. Points of accuracy over DAPO, by arm: {}.", ranges.join(", "))
}

/// On what the forecast rests, and how far it was off where that could be tried.
fn evidence(map: &Map<'_>) -> String {
    let of_weights = map.arms.iter().find(|arm| arm.name == WEIGHTS);
    let (pairs, error) = of_weights.map_or((0, 0.0), |arm| (arm.pairs, arm.error));
    let rule = match map.rule {
        Rule::Mean => "the mean over all tasks: choosing by the audit was not closer",
        Rule::Nearest => "the task with the closest audit",
    };
    format!(
        "Evidence: {} tasks of the family `survey`, a model of 1.1 million parameters, {} steps, {pairs} pairs of runs \
         of VGPO and DAPO. The forecast is {rule}; made from the other tasks it was off by {error:.1} points for a \
         task that was left out. That is little evidence, and none for large models.",
        map.cells.len(),
        map.steps
    )
}

/// What the oracle says about any visual weighting.
fn ceiling(map: &Map<'_>) -> Option<String> {
    let Arm { gain: [gain, low, high], .. } = map.arms.iter().find(|arm| arm.name == CEILING)?;
    let so = if *low > 0.0 {
        "so weights by looking can help there, as far as they find these tokens"
    } else {
        "so no gain is shown for weights by looking on such tasks"
    };
    Some(format!("Weights by the true dependency gained {gain:+.1} points [{low:+.1}, {high:+.1}], {so}."))
}

/// Whether the audit is unlike all that was measured.
fn outside(map: &Map<'_>, audit: Position) -> Option<String> {
    let names = ["rank correlation", "share of late tokens that depend", "gradient on other tokens"];
    let unlike: Vec<String> = names
        .into_iter()
        .zip(audit.values())
        .enumerate()
        .filter_map(|(index, (name, here))| {
            let values = || map.cells.iter().map(|cell| cell.audit.values()[index]);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            (!(low..=high).contains(&here)).then(|| format!("{name} {here:.2}, measured were {low:.2} to {high:.2}"))
        })
        .collect();
    (!unlike.is_empty()).then(|| format!("This audit is unlike those tasks ({}).", unlike.join("; ")))
}

/// A hint at the state whose focus finds the tokens better.
fn better_state(metrics: &BTreeMap<String, f64>) -> Option<String> {
    let (reading, predicting) = (metrics.get("audit/auc")?, metrics.get("audit/auc_predicting")?);
    (predicting - reading > BETTER_AUC).then(|| {
        format!(
            "If you weigh, try `focus_position: predicting`: its focus finds the tokens that depend on the image \
             better (AUC {predicting:.2}, else {reading:.2})."
        )
    })
}
