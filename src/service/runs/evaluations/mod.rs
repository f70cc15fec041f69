//! Evaluations row by row: which ones a run has, their rows by page, what they add up to, and two of them compared.
//!
//! Rows are files of the artifact store, as the trainer wrote them. An index over the file of one evaluation is kept in
//! memory, so that a page reads its own rows only.

mod cache;
pub mod compare;
mod index;
pub mod maps;
mod page;
pub mod summary;

use std::sync::Arc;

use crate::artifacts::{evaluated_steps, finished_chunks};
use crate::domain::eval_row::{ROWS_FILE, evaluation_key};
use crate::domain::run::Run;
use crate::domain::spec::{JobSpec, Method, RowSplit};
use crate::service::runs::Runs;
use crate::service::{Result, ServiceError};

pub(in crate::service) use cache::IndexCache;
pub use index::{RowOrder, Verdict};
pub use page::RowQuery;

use index::RowIndex;

/// The evaluation of a run that a request means, and the index of its rows.
struct Evaluation {
    run: Run,
    spec: JobSpec,
    /// At which step of its training; none for a run of method `eval`, which has one evaluation.
    step: Option<u64>,
    /// All steps with an evaluation.
    steps: Vec<u64>,
    dataset: String,
    split: RowSplit,
    index: Arc<RowIndex>,
}

/// A run that was not evaluated, at the step that is asked for or at all.
struct Missing {
    run: Run,
    steps: Vec<u64>,
    dataset: String,
    split: RowSplit,
    /// Why there is nothing to read, and what to do.
    why: String,
}

impl Runs {
    /// The evaluation of a run at `step`, or its newest one before it; without a step, its newest one.
    async fn evaluation(&self, run_id: &str, step: Option<u64>) -> Result<Evaluation> {
        self.look_for_evaluation(run_id, step).await?.map_err(|missing| ServiceError::Conflict(missing.why))
    }

    async fn look_for_evaluation(
        &self,
        run_id: &str,
        step: Option<u64>,
    ) -> Result<std::result::Result<Evaluation, Missing>> {
        let run = self.store.run(run_id).await?;
        let job = self.store.job(&run.job_id).await?;
        let spec = job.spec.known().cloned().ok_or_else(|| {
            let detail = format!("job `{}` was stored by a newer version, which is needed to read its rows", job.id);
            ServiceError::Conflict(detail)
        })?;
        let (dataset, split) = evaluated_rows(&spec);
        let id = run.id.clone();
        let trains = spec.method.trains();
        let (chosen, steps, files) = self
            .in_storage(move |artifacts| {
                if !trains {
                    let chunks = finished_chunks(artifacts, &id)?;
                    return Ok((None, Vec::new(), chunks));
                }
                let steps = evaluated_steps(artifacts, &id)?;
                let chosen = steps.iter().copied().rfind(|known| step.is_none_or(|step| *known <= step));
                let folder = chosen.map(|step| artifacts.path(&evaluation_key(&id, step))).transpose()?;
                Ok((chosen, steps, folder.into_iter().collect()))
            })
            .await?;
        if files.is_empty() {
            let why = not_evaluated(&run.id, trains, step, &steps);
            return Ok(Err(Missing { run, steps, dataset, split, why }));
        }
        let files = files.into_iter().map(|folder| folder.join(ROWS_FILE)).collect();
        let cache = Arc::clone(&self.evaluations);
        let name = (run.id.clone(), chosen);
        let index = self.previews.run(move |stop| cache.index(name, files, stop)).await?;
        Ok(Ok(Evaluation { run, spec, step: chosen, steps, dataset, split, index }))
    }
}

/// The data set whose rows a job evaluates, and which of its rows.
fn evaluated_rows(spec: &JobSpec) -> (String, RowSplit) {
    match &spec.method {
        Method::Eval(eval) => (spec.dataset.clone(), eval.split),
        _ => (spec.eval_dataset.clone().unwrap_or_else(|| spec.dataset.clone()), RowSplit::Eval),
    }
}

/// Why there is nothing to read, and what to do.
fn not_evaluated(id: &str, trains: bool, step: Option<u64>, steps: &[u64]) -> String {
    match (step, steps.first()) {
        (Some(step), Some(first)) => {
            format!("run `{id}` was not evaluated at step {step} or before; its first evaluation is at step {first}")
        }
        _ if !trains => format!("run `{id}` has no rows yet: no chunk of its evaluation is finished"),
        _ => format!(
            "run `{id}` has no rows of an evaluation: they are kept at every `eval_every` steps unless \
             `log_samples_every` is 0; a job of method `eval` answers them for any of its checkpoints"
        ),
    }
}
