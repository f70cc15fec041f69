//! Ground truths that a job's reward cannot read: every response to such a row gets 0, whatever it says.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::spec::JobSpec;
use crate::reward::blind_to;
use crate::service::jobs::warning::JobWarning;

/// The code of the warning.
pub(super) const UNREADABLE_TRUTHS: &str = "unreadable_truths";

/// Tells which rewards can read none, or not all, of the first rows' truths.
pub(super) fn unreadable_truths(spec: &JobSpec, truths: &[Vec<String>]) -> Vec<JobWarning> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let rows: Vec<_> = truths.iter().filter(|answers| !answers.is_empty()).collect();
    for answers in &rows {
        // Any of several answers is enough.
        let blind = answers.iter().map(|truth| blind_to(&spec.reward, truth).into_iter().collect::<BTreeSet<_>>());
        for blind in blind.reduce(|all, next| &all & &next).unwrap_or_default() {
            *counts.entry(blind).or_default() += 1;
        }
    }
    let warning = |((name, what), count): ((&str, &str), usize)| {
        let which = if count == rows.len() {
            format!("none of the first {count} ground truths contains")
        } else {
            format!("{count} of the first {} ground truths do not contain", rows.len())
        };
        let detail = format!(
            "{which} the {what} that the reward `{name}` looks for in data set `{}`: every response to such a row gets \
             0; choose another reward, or another column as `answer`",
            spec.dataset
        );
        JobWarning { code: UNREADABLE_TRUTHS.to_owned(), pointer: "/reward".to_owned(), detail }
    };
    counts.into_iter().map(warning).collect()
}
