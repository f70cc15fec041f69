//! Rows to figures, the same for every database.

use crate::domain::figures::{Figures, LeaseLoss, RunFigures};
use crate::store::error::Result;
use crate::store::rows::{Record, count, state, text, text_or_none};

/// Metric keys of phases begin like this.
const PHASE: &str = "time/";

/// The name of a counter of lost leases.
pub(super) fn lost_leases(how: LeaseLoss) -> String {
    format!("lost_leases/{}", how.name())
}

/// A state with its number of jobs.
pub(super) fn add_jobs(figures: &mut Figures, row: &impl Record) -> Result<()> {
    figures.jobs.insert(state(row)?, count(row, "jobs")?);
    figures.claims += count::<u64>(row, "claims")?;
    Ok(())
}

/// A row of `counters`; those of a later program are skipped.
pub(super) fn add_counter(figures: &mut Figures, row: &impl Record) -> Result<()> {
    let name = text(row, "name")?;
    if let Some(how) = LeaseLoss::ALL.into_iter().find(|how| lost_leases(*how) == name) {
        figures.lost_leases.insert(how, count(row, "value")?);
    }
    Ok(())
}

/// A run with one phase of its last step; rows of a run follow each other.
pub(super) fn add_run(figures: &mut Figures, row: &impl Record) -> Result<()> {
    let run_id = text(row, "run_id")?;
    if figures.runs.last().is_none_or(|run| run.run_id != run_id) {
        figures.runs.push(RunFigures {
            run_id,
            job_id: text(row, "job_id")?,
            step: count(row, "step")?,
            samples: count(row, "samples")?,
            tokens: count(row, "tokens")?,
            ..RunFigures::default()
        });
    }
    let phase = text_or_none(row, "phase")?;
    if let (Some(run), Some(phase), Some(seconds)) = (figures.runs.last_mut(), phase, row.real_or_none("seconds")?) {
        run.phases.insert(phase.trim_start_matches(PHASE).to_owned(), seconds);
    }
    Ok(())
}
