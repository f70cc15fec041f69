//! Which metric keys a request may name: a misspelt one would look like one that has no values yet.

use std::collections::BTreeSet;

use crate::domain::metric::{CATALOGUE, describe};
use crate::domain::nearest::suggestion;
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

impl Runs {
    /// Refuses a key of the query parameter `parameter` that neither the catalogue nor one of `runs` has. A key that
    /// the catalogue has may still be measured.
    pub(super) async fn known_metric(&self, parameter: &str, key: &str, runs: &[&str]) -> Result<()> {
        if in_catalogue(key) {
            return Ok(());
        }
        let mut known: BTreeSet<String> = CATALOGUE.iter().map(|info| info.key.to_owned()).collect();
        for run in runs {
            known.extend(self.store.metric_keys(run).await?.into_iter().map(|measured| measured.key));
        }
        let is_known = match key.strip_suffix('*') {
            Some(head) => known.iter().any(|known| known.starts_with(head)),
            None => known.contains(key),
        };
        if is_known {
            return Ok(());
        }
        let known: Vec<&str> = known.iter().map(String::as_str).filter(|key| !key.contains('*')).collect();
        let detail = format!("no run has a metric `{key}`: {}", suggestion(key, &known));
        Err(ServiceError::field(format!("?{parameter}"), detail))
    }
}

fn in_catalogue(key: &str) -> bool {
    match key.strip_suffix('*') {
        Some(head) => CATALOGUE.iter().any(|info| {
            let fixed = info.key.split('*').next().unwrap_or_default();
            // The head of a family such as `eval/accuracy/*` may be cut before or after the part that varies.
            info.key.starts_with(head) || (fixed.len() < info.key.len() && head.starts_with(fixed))
        }),
        None => describe(key).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::in_catalogue;

    #[test]
    fn keys_and_heads_of_the_catalogue_are_known() {
        for key in ["reward/mean", "reward/format/mean", "eval/accuracy/red", "visual/*", "eval/accuracy/r*", "*"] {
            assert!(in_catalogue(key), "{key}");
        }
        for key in ["eval/acc", "visul/*", "reward", "", "eval/accuracy/"] {
            assert!(!in_catalogue(key), "{key}");
        }
    }
}
