//! Forecasts from a map of measured tasks.

use std::collections::BTreeMap;

use vgpo::algorithm::forecast::{Arm, Cell, Map, Position, Rule, forecast};
use vgpo::domain::forecast::{Forecast, ForecastVerdict, GainForecast};

const HERE: Position = Position { spearman: 0.3, dependent_late: 0.2, independent_gradient: 0.7 };

fn metrics(more: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let audit = [("spearman", 0.3), ("dependent_late", 0.2), ("independent_gradient", 0.7)];
    audit.iter().chain(more).map(|(key, value)| (format!("audit/{key}"), *value)).collect()
}

/// Three tasks that differ in their rank correlation; the second is closest to `HERE`.
fn told(rule: Rule, error: f64, ceiling: [f64; 3], more: &[(&str, f64)]) -> Forecast {
    let cell = |spearman, gains| Cell { name: "", audit: Position { spearman, ..HERE }, gains };
    let cells = [cell(0.1, &[-2.0, 0.0]), cell(0.35, &[1.5, 1.0]), cell(0.9, &[2.0, 2.0])];
    let arms = [
        Arm { name: "vgpo", pairs: 12, gain: [0.5, -1.0, 2.0], error },
        Arm { name: "oracle-intra", pairs: 12, gain: ceiling, error },
    ];
    forecast(&Map { arms: &arms, cells: &cells, rule, steps: 12 }, &metrics(more))
}

#[test]
fn nothing_is_forecast_without_measurements() {
    let empty = Map { arms: &[], cells: &[], rule: Rule::Mean, steps: 12 };
    let found = forecast(&empty, &metrics(&[]));
    assert_eq!((found.verdict, found.cells, found.gains.len()), (ForecastVerdict::Unknown, 0, 0));
    // An audit in which all tokens were alike has no rank correlation.
    let cells = [Cell { name: "", audit: HERE, gains: &[] }];
    let found = forecast(&Map { cells: &cells, ..empty }, &BTreeMap::new());
    assert!(found.text.contains("the same for all tokens") && found.gains.is_empty(), "{found:?}");
}

#[test]
fn the_gain_is_that_of_the_closest_task_or_of_all() {
    let nearest = told(Rule::Nearest, 0.5, [1.0, 0.5, 1.5], &[]);
    let gain = |arm: &str, gain, low, high| GainForecast { arm: arm.to_owned(), gain, low, high };
    assert_eq!(nearest.gains, [gain("vgpo", 1.5, 0.5, 2.5), gain("oracle-intra", 1.0, 0.0, 2.0)]);
    assert_eq!((nearest.verdict, nearest.cells), (ForecastVerdict::Help, 3));
    let mean = told(Rule::Mean, 0.5, [1.0, 0.5, 1.5], &[]);
    assert_eq!(mean.gains, [gain("vgpo", 0.5, -0.5, 1.5), gain("oracle-intra", 1.0, 0.0, 2.0)]);
    assert_eq!(mean.verdict, ForecastVerdict::Nothing);
}

#[test]
fn the_words_say_how_much_is_known() {
    let found = told(Rule::Nearest, 0.5, [1.0, 0.5, 1.5], &[]).text;
    for part in [
        "Visual weights are likely to help. Points of accuracy over DAPO, by arm: vgpo +1.5 (+0.5 to +2.5), ",
        "3 tasks of the family `survey`",
        "12 steps, 12 pairs of runs",
        "off by 0.5 points for a task that was left out",
        "none for large models",
        "gained +1.0 points [+0.5, +1.5], so weights by looking can help there",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert!(!found.contains("unlike") && !found.contains("predicting"), "{found}");
    let found = told(Rule::Mean, 0.5, [0.2, -0.5, 1.5], &[]).text;
    assert!(found.contains("do nothing that could be told from 0") && found.contains("no gain is shown"));
    assert!(told(Rule::Nearest, 0.1, [0.0; 3], &[]).text.contains("likely to help"));
}

#[test]
fn an_audit_unlike_all_tasks_is_told_and_so_is_a_state_that_finds_more() {
    let found = told(Rule::Nearest, 0.5, [0.0; 3], &[("spearman", 0.95), ("auc", 0.6), ("auc_predicting", 0.7)]);
    assert_eq!(found.gains[0].gain, 2.0, "the third is closest now");
    assert!(found.text.contains("unlike those tasks (rank correlation 0.95, measured were 0.10 to 0.90)"), "{found:?}");
    assert!(found.text.contains("`focus_position: predicting`") && found.text.contains("AUC 0.70, else 0.60"));
    let close = told(Rule::Nearest, 0.5, [0.0; 3], &[("auc", 0.6), ("auc_predicting", 0.64)]);
    assert!(!close.text.contains("predicting"), "{close:?}");
}
