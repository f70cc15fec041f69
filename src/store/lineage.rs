//! How jobs start from runs and continue them, whatever the database.

use crate::domain::job::{Job, NewJob};
use crate::domain::model_reference::{ModelReference, RunCheckpoint};
use crate::domain::run::Continuation;
use crate::store::error::{Result, StoreError};

/// The checkpoint that a job starts from once another job has made it.
pub(super) struct Awaited {
    /// The job or run that makes it.
    pub maker: String,
    /// Is the maker a job (or else a run)?
    pub by_job: bool,
    /// The column of `runs` that holds the checkpoint.
    pub column: &'static str,
}

/// What a model's name waits for: `job_…`, `run_…@best` or `run_…@last`; none for a model that is there already.
pub(super) fn awaited(model: &str) -> Option<Awaited> {
    let (maker, by_job, which) = match model.parse().ok()? {
        ModelReference::Run { run, which } => (run, false, which),
        ModelReference::Job(job) => (job, true, RunCheckpoint::Last),
        _ => return None,
    };
    let column = match which {
        RunCheckpoint::Best => "best_checkpoint",
        RunCheckpoint::Last => "last_checkpoint",
    };
    Some(Awaited { maker, by_job, column })
}

/// The job that continues a run up to step `steps`: the settings of the last one, without its early stop.
pub(super) fn continued(
    before: &Job,
    steps: u64,
    continuation: &Continuation,
    base_model: Option<String>,
) -> Result<NewJob> {
    let Some(mut spec) = before.spec.known().cloned() else {
        let problem = format!("job `{}` was stored by a later program: only that one can continue its run", before.id);
        return Err(StoreError::Conflict(problem));
    };
    (spec.steps, spec.after, spec.not_before) = (steps, None, None);
    let mut origins = before.origins.clone();
    origins["/steps"] = "request".into();
    // A request for more steps means all of them, although the run may have stopped early.
    if spec.early_stop.take().is_some() {
        if let Some(origins) = origins.as_object_mut() {
            origins.retain(|pointer, _| !pointer.starts_with("/early_stop/"));
        }
        origins["/early_stop"] = "request".into();
    }
    // The address for alerts goes from row to row: it is in no job that is read.
    let created_by = continuation.created_by.clone();
    Ok(NewJob { spec, origins, created_by, base_model, alert_webhook: None })
}
