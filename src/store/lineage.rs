//! Where runs come from and go on to, before any database writes it.

use crate::domain::job::{Job, NewJob};
use crate::domain::run::Continuation;
use crate::store::error::{Result, StoreError};

/// The checkpoint that a job starts from once another job has made it.
pub(super) struct Awaited<'a> {
    /// The job or run that makes it.
    pub maker: &'a str,
    /// Is the maker a job (or else a run)?
    pub by_job: bool,
    /// The column of `runs` that holds the checkpoint.
    pub column: &'static str,
}

/// What a model's name waits for: `job_…`, `run_…@best` or `run_…@last`; none for a model that is there already.
pub(super) fn awaited(model: &str) -> Option<Awaited<'_>> {
    match model.split_once('@') {
        Some((maker, "best")) => Some(Awaited { maker, by_job: false, column: "best_checkpoint" }),
        Some((maker, "last")) => Some(Awaited { maker, by_job: false, column: "last_checkpoint" }),
        None if model.starts_with("job_") => Some(Awaited { maker: model, by_job: true, column: "last_checkpoint" }),
        _ => None,
    }
}

/// The job that goes on with a run up to step `steps`: what the last one was, without what held that one back.
pub(super) fn continued(
    before: &Job,
    steps: u64,
    continuation: &Continuation,
    base_model: Option<String>,
) -> Result<NewJob> {
    let Some(mut spec) = before.spec.known().cloned() else {
        let problem =
            format!("job `{}` was stored by a later program: only that one can go on with its run", before.id);
        return Err(StoreError::Conflict(problem));
    };
    (spec.steps, spec.after, spec.not_before) = (steps, None, None);
    let mut origins = before.origins.clone();
    origins["/steps"] = "request".into();
    // Whoever asks for more steps wants them, although the run may have stopped early.
    if spec.early_stop.take().is_some() {
        if let Some(origins) = origins.as_object_mut() {
            origins.retain(|pointer, _| !pointer.starts_with("/early_stop/"));
        }
        origins["/early_stop"] = "request".into();
    }
    Ok(NewJob { spec, origins, created_by: continuation.created_by.clone(), base_model })
}
