//! The production [`JobRunner`]: finds model and data set, and calls the trainer.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::artifacts::{ArtifactError, ArtifactStore, Intact, finished_chunks};
use crate::data::{self, DataError, Dataset};
use crate::domain::checkpoint::{Checkpoint, TRAINER};
use crate::domain::dataset::DatasetState;
use crate::domain::device::DeviceName;
use crate::domain::model_reference::ModelReference;
use crate::domain::spec::{Columns, DeviceClass};
use crate::footprint::{Site, machine, sampling_room};
use crate::model;
use crate::model::lora::peft::BaseModel;
use crate::reward::Backends;
use crate::store::{Database, StoreError};
use crate::train::engine::{EngineOpener, ForeignEngines};
use crate::train::sink::RunSink;
use crate::train::{self, TrainError, TrainRequest};

use super::ranks::{DatasetSource, Launcher, RankPlan};
use super::runner::{JobRunner, JobTask, RunEnd, RunnerError};

/// Runs jobs with the trainer of this program.
pub struct TrainRunner {
    store: Arc<dyn Database>,
    artifacts: Arc<dyn ArtifactStore>,
    runtime: Handle,
    device: DeviceName,
    rewards: Backends,
    engines: Option<Arc<dyn EngineOpener>>,
    launcher: Option<Launcher>,
}

impl TrainRunner {
    /// A runner that looks models up in `store` and trains on `device`. Must be created inside the store's runtime.
    pub fn new(
        store: Arc<dyn Database>,
        artifacts: Arc<dyn ArtifactStore>,
        device: DeviceName,
        rewards: Backends,
    ) -> Self {
        let runtime = Handle::current();
        Self { store, artifacts, runtime, device, rewards, engines: None, launcher: None }
    }

    /// The same with engines on other servers, which jobs may name.
    #[must_use]
    pub fn with_engines(self, engines: Arc<dyn EngineOpener>) -> Self {
        Self { engines: Some(engines), ..self }
    }

    /// The same, for jobs of several ranks too.
    #[must_use]
    pub fn with_launcher(self, launcher: Option<Launcher>) -> Self {
        Self { launcher, ..self }
    }

    /// The folder of a registered model, a served name, a checkpoint id, or `run_…@best` and `run_…@last`.
    async fn model_dir(&self, model: &str) -> Result<PathBuf, RunnerError> {
        match self.store.model(model).await {
            Ok(record) => {
                let folder = |key: &str| self.files(key, &format!("`model`: the files of `{model}`"));
                return record.artifact_key().map_or_else(|| Ok(PathBuf::from(&record.path)), folder);
            }
            Err(StoreError::NotFound { .. }) => (),
            Err(error) => return Err(transient(&error)),
        }
        let checkpoint = self.checkpoint(model).await?;
        let what = format!("`model`: the files of checkpoint `{}`", checkpoint.id);
        let dir = self.files(&checkpoint.key, &what)?;
        let weights = |path: &str| !path.starts_with(TRAINER);
        let intact = Intact::default().check(&checkpoint.key, &dir, &checkpoint.manifest, weights);
        intact.map_err(|error| RunnerError::Permanent(format!("{what}: {error}")))?;
        Ok(dir)
    }

    /// The checkpoint that a job names as its model.
    async fn checkpoint(&self, model: &str) -> Result<Checkpoint, RunnerError> {
        let unusable = |problem: &str| RunnerError::Permanent(format!("`model`: `{model}`: {problem}"));
        let unknown =
            || unusable("there is no such registered model, served name or checkpoint, and no run with this id");
        let parsed = model.parse::<ModelReference>().map_err(|error| unusable(&error.to_string()))?;
        let id = match parsed {
            ModelReference::Checkpoint(id) => id,
            ModelReference::Name(name) => {
                return self.store.promoted(&name).await.map_err(|e| transient(&e))?.ok_or_else(unknown);
            }
            ModelReference::Run { run, which } => {
                let run = self.store.run(&run).await.map_err(|e| not_found(&e, unknown))?;
                which.of(run).ok_or_else(|| unusable("the run has no checkpoint yet"))?
            }
            ModelReference::Job(_) => return Err(unusable("the job that it was to come from left no checkpoint")),
            ModelReference::Hub(_) => return Err(unknown()),
        };
        self.store.checkpoint(&id).await.map_err(|e| not_found(&e, unknown))
    }

    /// The hub's repository that a registered model came from.
    async fn repository(&self, model: &str) -> Result<Option<BaseModel>, RunnerError> {
        match self.store.model(model).await {
            Ok(record) => Ok(record.repository().map(|from| BaseModel { name: from.id, revision: from.revision })),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(transient(&error)),
        }
    }

    /// The folder of an artifact. An unreachable store is a transient error.
    fn files(&self, key: &str, what: &str) -> Result<PathBuf, RunnerError> {
        self.artifacts.path(key).map_err(|error| match error {
            ArtifactError::Remote { .. } | ArtifactError::Io { .. } => {
                RunnerError::Transient(format!("{what}: {error}"))
            }
            _ => RunnerError::Permanent(format!("{what}: {error}")),
        })
    }

    /// A built-in data set, or a registered one, read with `columns` or by default with the columns of its check.
    async fn dataset(&self, name: &str, columns: Option<&Columns>) -> Result<DatasetSource, RunnerError> {
        let permanent = |problem: &dyn std::fmt::Display| RunnerError::Permanent(problem.to_string());
        let unknown = match data::open(name) {
            Err(unknown @ DataError::Unknown { .. }) => unknown,
            opened => return opened.map(|_| DatasetSource::BuiltIn(name.to_owned())).map_err(|e| permanent(&e)),
        };
        let record = self.store.dataset(name).await.map_err(|e| not_found(&e, || permanent(&unknown)))?;
        if record.state != DatasetState::Ready {
            return Err(RunnerError::Permanent(format!("data set `{name}` is {}, not ready", record.state.name())));
        }
        let dir = self.files(&record.artifact_key(), &format!("the files of data set `{name}`"))?;
        let rows = (record.train_rows, record.eval_rows);
        Ok(DatasetSource::Files { dir, columns: columns.cloned(), rows })
    }

    /// Starts the ranks of a job, which train on their own.
    fn run_ranks(&self, plan: &RankPlan, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError> {
        let ranks = plan.spec.resources.ranks;
        let launcher = self.launcher.as_ref().ok_or_else(|| {
            RunnerError::Transient(format!(
                "the job has {ranks} ranks, and this worker starts none: set `ranks` where it runs (docs/scale.md)"
            ))
        })?;
        launcher.run(plan, sink)
    }
}

fn open(source: &DatasetSource) -> Result<Arc<dyn Dataset>, RunnerError> {
    source.open().map_err(|error| match error {
        // A disk that is not there now may be there later.
        DataError::File { .. } => RunnerError::Transient(error.to_string()),
        _ => RunnerError::Permanent(error.to_string()),
    })
}

impl RunnerError {
    /// The same, about a field of the job.
    fn about(self, field: &str) -> Self {
        match self {
            Self::Permanent(problem) => Self::Permanent(format!("`{field}`: {problem}")),
            Self::Transient(problem) => Self::Transient(format!("`{field}`: {problem}")),
        }
    }
}

fn transient(error: &StoreError) -> RunnerError {
    RunnerError::Transient(error.to_string())
}

fn not_found(error: &StoreError, unknown: impl FnOnce() -> RunnerError) -> RunnerError {
    if matches!(error, StoreError::NotFound { .. }) { unknown() } else { transient(error) }
}

impl JobRunner for TrainRunner {
    fn run(&self, task: &JobTask, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError> {
        let spec = task.spec.clone();
        let model_dir = self.runtime.block_on(self.model_dir(&spec.model))?;
        let base = self.runtime.block_on(self.repository(&spec.model))?;
        let find = |name: &str, columns| self.runtime.block_on(self.dataset(name, columns));
        let source = find(&spec.dataset, Some(&spec.data.columns)).map_err(|e| e.about("dataset"))?;
        // Its columns may have other names than those of the rows to train on.
        let eval_source = spec.eval_dataset.as_ref().map(|name| find(name, None)).transpose();
        let eval_source = eval_source.map_err(|e| e.about("eval_dataset"))?;
        let rows = if spec.method.trains() {
            Vec::new()
        } else {
            let rows = finished_chunks(&*self.artifacts, &task.job.run_id);
            rows.map_err(|e| RunnerError::Transient(format!("the rows so far: {e}")))?
        };
        if spec.resources.ranks > 1 {
            let plan = RankPlan {
                model_dir,
                base: base.map(|base| (base.name, base.revision)),
                device: self.device.to_string(),
                dataset: source,
                eval_dataset: eval_source,
                work_dir: task.work_dir.clone(),
                run: task.job.run_id.clone(),
                resume: task.resume.as_ref().map(|point| (point.dir.clone(), point.step)),
                rows,
                spec,
            };
            return self.run_ranks(&plan, sink);
        }
        let dataset = open(&source).map_err(|e| e.about("dataset"))?;
        let eval_dataset = match &eval_source {
            Some(source) => open(source).map_err(|e| e.about("eval_dataset"))?,
            None => Arc::clone(&dataset),
        };
        // A folder that cannot be read is an error of the trainer, which says more.
        let size = model::size(&model_dir).ok();
        let site = Site::new(self.device.class() == DeviceClass::Cpu, machine::device_memory(self.device));
        let room = size.and_then(|size| sampling_room(size, &spec, site));
        let request = TrainRequest {
            rows,
            spec,
            model_dir,
            device: self.device,
            dataset,
            eval_dataset,
            work_dir: task.work_dir.clone(),
            run: task.job.run_id.clone(),
            base,
            rewards: self.rewards.clone(),
            engines: ForeignEngines {
                opener: self.engines.clone(),
                attempt: format!("{}-{}", task.job.id, task.job.attempt),
            },
            resume: task.resume.clone(),
            room,
        };
        match train::run(request, sink) {
            Ok(train::RunEnd::Finished { stopped_early, .. }) => {
                let reason = stopped_early.map_or_else(|| "finished".to_owned(), |why| format!("stopped early: {why}"));
                Ok(RunEnd::Finished { reason })
            }
            Ok(train::RunEnd::Yielded) => Ok(RunEnd::Yielded),
            Ok(train::RunEnd::Cancelled) => Ok(RunEnd::Cancelled),
            Err(error) => Err(classify(&error)),
        }
    }
}

fn classify(error: &TrainError) -> RunnerError {
    let text = error.to_string();
    // Tensor errors append a backtrace if the environment requests one; it does not belong in a job's reason.
    let message = text.split("\n   0: ").next().unwrap_or(&text).to_owned();
    if error.is_permanent() { RunnerError::Permanent(message) } else { RunnerError::Transient(message) }
}
