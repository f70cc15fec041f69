//! The rules: what of a run is remembered, and when it is an alert. One function each, in [`RULES`].

use std::collections::VecDeque;

use crate::domain::alert::{AlertRule, AlertRules, Finding};
use crate::domain::brief::cut;
use crate::domain::event::{JobChanged, MetricsEvent};
use crate::domain::job::JobState;

/// The metric of the rules about rewards.
pub(super) const REWARD: &str = "reward/mean";
/// Metrics of the rule about KL.
const KLS: [&str; 2] = ["policy/reference_kl", "policy/kl"];
/// The metric of the rules about entropy.
const ENTROPY: &str = "policy/entropy";
/// Steps whose rewards are averaged to see a collapse.
const WINDOW: usize = 10;
/// Most characters of a reason that an alert repeats.
const REASON: usize = 500;

/// What happened in a run.
pub(super) enum Observed<'a> {
    /// A step was measured.
    Metrics(&'a MetricsEvent),
    /// The job changed its state.
    Job(&'a JobChanged),
    /// The attempt ended because a number is not finite.
    NotFinite(&'a str),
    /// It runs, and nothing has been heard for this many seconds since the last step, if there was one.
    Silence { seconds: u64, last_step: Option<u64> },
}

/// What is remembered of a run.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The newest mean rewards, as many as the rules need.
    rewards: VecDeque<f64>,
    /// The best mean of [`WINDOW`] of them.
    best: Option<f64>,
}

impl Memory {
    /// Takes the mean reward of a step.
    pub fn reward(&mut self, value: f64, rules: &AlertRules) {
        let constant = rules.reward_constant.and_then(|steps| usize::try_from(steps).ok());
        if self.rewards.len() >= constant.unwrap_or(0).max(WINDOW) {
            self.rewards.pop_front();
        }
        self.rewards.push_back(value);
        if let Some(mean) = self.mean().filter(|mean| self.best.is_none_or(|best| *mean > best)) {
            self.best = Some(mean);
        }
    }

    /// The mean of the last steps, once there are enough.
    fn mean(&self) -> Option<f64> {
        let newest = self.rewards.iter().rev().take(WINDOW);
        (self.rewards.len() >= WINDOW).then(|| newest.sum::<f64>() / WINDOW as f64)
    }
}

/// What a rule found, and which time it is for rules that may be met more than once.
pub(super) struct Found {
    pub finding: Finding,
    pub occasion: String,
}

impl Found {
    fn new(rule: AlertRule, message: String) -> Self {
        let finding = Finding { rule, message, step: None, key: None, value: None, limit: None };
        Self { finding, occasion: String::new() }
    }

    /// About a metric of a step.
    fn about(mut self, metrics: &MetricsEvent, key: &str, value: Option<f64>, limit: Option<f64>) -> Self {
        let finding = &mut self.finding;
        (finding.step, finding.key, finding.value, finding.limit) =
            (Some(metrics.step), Some(key.to_owned()), value, limit);
        self
    }

    fn at(self, occasion: String) -> Self {
        Self { occasion, ..self }
    }
}

type Rule = fn(&AlertRules, &Memory, &Observed<'_>) -> Option<Found>;

/// Every rule.
const RULES: [Rule; 9] =
    [nan, reward_constant, reward_collapse, kl_above, entropy_below, entropy_above, stalled, finished, failed];

/// What the rules find in what happened; `memory` has it already.
pub(super) fn judge(rules: &AlertRules, memory: &Memory, observed: &Observed<'_>) -> Vec<Found> {
    RULES.iter().filter_map(|rule| rule(rules, memory, observed)).collect()
}

fn nan(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    if !rules.nan {
        return None;
    }
    match observed {
        Observed::NotFinite(problem) => Some(Found::new(AlertRule::Nan, cut(problem, REASON))),
        Observed::Metrics(metrics) => {
            let (key, value) = metrics.nonfinite.first_key_value()?;
            let message = format!("`{key}` is {value} at step {}", metrics.step);
            Some(Found::new(AlertRule::Nan, message).about(metrics, key, None, None))
        }
        _ => None,
    }
}

fn reward_constant(rules: &AlertRules, memory: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let (steps, metrics) = (rules.reward_constant?, rewarded(observed)?);
    let wanted = usize::try_from(steps).ok()?;
    let mut newest = memory.rewards.iter().rev().take(wanted);
    let value = *newest.next()?;
    if memory.rewards.len() < wanted || newest.any(|other| *other != value) {
        return None;
    }
    let message = format!("the mean reward is {value} in {steps} steps in a row: nothing can be learned from that");
    Some(Found::new(AlertRule::RewardConstant, message).about(metrics, REWARD, Some(value), Some(steps as f64)))
}

fn reward_collapse(rules: &AlertRules, memory: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let (share, metrics) = (rules.reward_collapse?, rewarded(observed)?);
    // A share of a negative reward would be more than it.
    let (mean, best) = (memory.mean()?, memory.best.filter(|best| *best > 0.0)?);
    if mean >= share * best {
        return None;
    }
    let message = format!("the mean reward of {WINDOW} steps has fallen from {best:.3} to {mean:.3}");
    Some(Found::new(AlertRule::RewardCollapse, message).about(metrics, REWARD, Some(mean), Some(share * best)))
}

fn kl_above(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let limit = rules.kl_above?;
    let found = |key: &&str| beyond(AlertRule::KlAbove, observed, key, limit, "above", |value| value > limit);
    KLS.iter().find_map(found)
}

fn entropy_below(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let limit = rules.entropy_below?;
    beyond(AlertRule::EntropyBelow, observed, ENTROPY, limit, "below", |value| value < limit)
}

fn entropy_above(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let limit = rules.entropy_above?;
    beyond(AlertRule::EntropyAbove, observed, ENTROPY, limit, "above", |value| value > limit)
}

fn beyond(
    rule: AlertRule,
    observed: &Observed<'_>,
    key: &str,
    limit: f64,
    side: &str,
    is_beyond: impl Fn(f64) -> bool,
) -> Option<Found> {
    let Observed::Metrics(metrics) = observed else { return None };
    let value = metrics.values.get(key).copied().flatten().filter(|value| is_beyond(*value))?;
    let message = format!("`{key}` is {value:.4} at step {}, {side} {limit}", metrics.step);
    Some(Found::new(rule, message).about(metrics, key, Some(value), Some(limit)))
}

fn stalled(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let (limit, Observed::Silence { seconds, last_step }) = (rules.stalled_seconds?, observed) else { return None };
    if *seconds < limit {
        return None;
    }
    let since = last_step.map_or_else(|| "it began".to_owned(), |step| format!("step {step}"));
    let message = format!("the job runs, and has reported nothing for {seconds} seconds since {since}");
    let mut found = Found::new(AlertRule::Stalled, message).at(since);
    let finding = &mut found.finding;
    (finding.step, finding.value, finding.limit) = (*last_step, Some(*seconds as f64), Some(limit as f64));
    Some(found)
}

fn finished(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let change = ended(observed, JobState::Succeeded).filter(|_| rules.finished)?;
    Some(Found::new(AlertRule::Finished, cut(&change.reason, REASON)))
}

/// A job that is retried may fail again, in a later attempt.
fn failed(rules: &AlertRules, _: &Memory, observed: &Observed<'_>) -> Option<Found> {
    let change = ended(observed, JobState::Failed).filter(|_| rules.failed)?;
    let message = cut(&change.reason, REASON);
    Some(Found::new(AlertRule::Failed, message).at(format!("attempt {}", change.attempt)))
}

fn ended<'a>(observed: &Observed<'a>, state: JobState) -> Option<&'a JobChanged> {
    match observed {
        Observed::Job(change) if change.to == state => Some(change),
        _ => None,
    }
}

/// The metrics of a step that has a mean reward.
fn rewarded<'a>(observed: &Observed<'a>) -> Option<&'a MetricsEvent> {
    match observed {
        Observed::Metrics(metrics) if metrics.values.get(REWARD).is_some_and(Option::is_some) => Some(metrics),
        _ => None,
    }
}
