//! Sweeps: one job over a grid of settings, submitted as a whole and read as a whole.

mod grid;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::brief::is_printable;
use crate::domain::field_error::{FieldError, MOST_ERRORS};
use crate::domain::job::{Job, JobAction, JobFilter, JobState, NewJob, Transition};
use crate::domain::page::{Listing, Page};
use crate::domain::run::Run;
use crate::domain::sweep::{NewSweep, Sweep, SweepFilter, SweepSettings};
use crate::domain::tree;
use crate::service::jobs::alerts::without_secrets;
use crate::service::jobs::plan::{PlannedWork, work};
use crate::service::jobs::preview::Preview;
use crate::service::jobs::submit::{SettledJob, after_fault};
use crate::service::jobs::warning::JobWarning;
use crate::service::runs::Runs;
use crate::service::runs::metrics::{KeySummary, headline_keys};
use crate::service::{Result, ServiceError};

use grid::{Grid, MAX_POINTS, Point};

/// Different prompts of one sweep, each of which is rendered once.
const MAX_LOOKS: usize = 32;
/// Longest name of a job or a sweep.
const MAX_NAME: usize = 200;

/// Body of `POST /v1/sweeps`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"job": {"model": "starter", "dataset": "digits"},
    "grid": {"method.type": ["vgpo", "grpo"], "seed": [0, 1, 2]}}))]
pub struct SweepRequest {
    /// A display name; by default made from the varied settings.
    pub name: Option<String>,
    /// The job that every point starts from, as for `POST /v1/jobs`.
    #[schema(value_type = Object)]
    #[serde(deserialize_with = "tree::value")]
    pub job: Value,
    /// The varied settings: JSON pointer or dotted path -> list of values. Every combination becomes a job; at most
    /// 256.
    #[schema(value_type = Object)]
    #[serde(deserialize_with = "tree::object")]
    pub grid: Map<String, Value>,
}

/// A submitted sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SubmittedSweep {
    /// The sweep.
    #[serde(flatten)]
    pub sweep: Sweep,
    /// Its jobs, queued.
    pub jobs: Vec<Job>,
    /// Warnings about settings that may be unintended, each once.
    pub warnings: Vec<JobWarning>,
}

/// The answer of a dry run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepPlan {
    /// Its display name.
    pub name: String,
    /// Number of jobs.
    pub points: u64,
    /// Most jobs that one sweep may have.
    pub max_points: u64,
    /// Warnings about settings that may be unintended, each once.
    pub warnings: Vec<JobWarning>,
    /// The work of all jobs together.
    pub work: PlannedWork,
}

/// A sweep that has passed every check.
struct CheckedSweep {
    name: String,
    grid: Grid,
    /// A job for every point, with the settings that distinguish it.
    jobs: Vec<(NewJob, SweepSettings)>,
    warnings: Vec<JobWarning>,
    work: PlannedWork,
}

/// A point that has passed every check.
struct CheckedPoint {
    job: NewJob,
    warnings: Vec<JobWarning>,
    work: PlannedWork,
}

/// A sweep and the state of its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepEntry {
    /// The sweep.
    #[serde(flatten)]
    pub sweep: Sweep,
    /// Number of runs by state; deleted runs do not count.
    pub states: BTreeMap<String, u64>,
    /// The runs; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<Vec<SweepRun>>,
}

/// One point of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SweepRun {
    /// The settings that distinguish it from the others.
    #[schema(value_type = Object)]
    pub settings: SweepSettings,
    /// Its run, with state and best accuracy.
    #[serde(flatten)]
    pub run: Run,
    /// Last, smallest, largest and best values by key.
    pub metrics: BTreeMap<String, KeySummary>,
}

impl Runs {
    /// Submits a job for every point of a grid, all or none.
    pub async fn submit_sweep(&self, request: SweepRequest, created_by: Option<String>) -> Result<SubmittedSweep> {
        let CheckedSweep { name, grid, mut jobs, warnings, .. } = self.check_sweep(&request).await?;
        for (job, _) in &mut jobs {
            job.created_by.clone_from(&created_by);
        }
        let project = jobs.first().map(|(job, _)| job.spec.project.clone()).unwrap_or_default();
        self.access().storage_left(&project).await?;
        let job = without_secrets(request.job);
        let new = NewSweep { name, project, created_by, job, grid: grid.as_map() };
        let (sweep, jobs) = self.store.submit_sweep(new, jobs).await.map_err(after_fault)?;
        self.access().tell_waiting(&jobs).await?;
        self.tell_news();
        Ok(SubmittedSweep { sweep, jobs, warnings })
    }

    /// What a sweep would be; nothing is stored.
    pub async fn plan_sweep(&self, request: &SweepRequest) -> Result<SweepPlan> {
        let CheckedSweep { name, jobs, warnings, work, .. } = self.check_sweep(request).await?;
        Ok(SweepPlan { name, points: jobs.len() as u64, max_points: MAX_POINTS as u64, warnings, work })
    }

    async fn check_sweep(&self, request: &SweepRequest) -> Result<CheckedSweep> {
        let grid = Grid::parse(&request.grid).map_err(ServiceError::invalid)?;
        let name = sweep_name(request, &grid)?;
        let (mut jobs, mut told, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        let (mut previews, mut work) = (HashMap::new(), PlannedWork::default());
        for point in grid.points() {
            match Box::pin(self.check_point(request, &point, &mut previews)).await {
                Ok(checked) => {
                    for warning in checked.warnings {
                        if !told.contains(&warning) {
                            told.push(warning);
                        }
                    }
                    work += checked.work;
                    jobs.push((checked.job, point.settings));
                }
                Err(ServiceError::Invalid { errors: faults, .. }) => {
                    errors.extend(faults.into_iter().map(|fault| about(&point, &request.grid, fault)));
                }
                Err(error) => return Err(error),
            }
            if errors.len() >= MOST_ERRORS {
                break;
            }
        }
        if !errors.is_empty() {
            return Err(ServiceError::invalid(errors));
        }
        Ok(CheckedSweep { name, grid, jobs, warnings: told, work })
    }

    /// A sweep as it was submitted, as far as that is known later.
    pub async fn submitted_sweep(&self, id: &str) -> Result<SubmittedSweep> {
        let sweep = self.store.sweep(id).await?;
        let filter = JobFilter { sweep: Some(id.to_owned()), ..JobFilter::default() };
        let mut jobs = self.store.jobs(&filter, &Page::first(MAX_POINTS as u32)).await?.data;
        jobs.reverse();
        Ok(SubmittedSweep { sweep, jobs, warnings: Vec::new() })
    }

    async fn check_point(
        &self,
        request: &SweepRequest,
        point: &Point,
        previews: &mut HashMap<String, Preview>,
    ) -> Result<CheckedPoint> {
        let job = point.apply(&request.job).map_err(|error| ServiceError::invalid(vec![error]))?;
        let settled = self.jobs().settle(&job).await?;
        let preview = self.preview_of(&settled, previews).await?;
        let (warnings, memory) = self.jobs().vet(&settled, preview).await?;
        memory.refuse_in_one()?;
        let work = work(&settled.resolved.spec, preview);
        let SettledJob { mut resolved, source, alert_webhook, .. } = settled;
        let base = request.name.as_ref().unwrap_or(&resolved.spec.name);
        resolved.spec.name = format!("{base} {}", point.label).chars().take(MAX_NAME).collect();
        let origins = serde_json::to_value(&resolved.origins).map_err(|e| ServiceError::Internal(e.to_string()))?;
        let base_model = Some(source.base.name);
        let job = NewJob { spec: resolved.spec, origins, created_by: None, base_model, alert_webhook };
        Ok(CheckedPoint { job, warnings, work })
    }

    /// The prompts of a point. Points that read the same ones are looked at once.
    async fn preview_of<'p>(
        &self,
        job: &SettledJob,
        previews: &'p mut HashMap<String, Preview>,
    ) -> Result<&'p Preview> {
        let SettledJob { resolved, source, data, .. } = job;
        let spec = &resolved.spec;
        let length = spec.rollout.max_new_tokens;
        let look = serde_json::json!([source.base.name, data.id, spec.data, spec.method.name(), length]).to_string();
        let looks = previews.len();
        match previews.entry(look) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(_) if looks >= MAX_LOOKS => {
                let detail = format!(
                    "the grid has more than {MAX_LOOKS} combinations of model, data, method and response length, each \
                     of which must be checked; split the sweep"
                );
                Err(ServiceError::field("/grid", detail))
            }
            Entry::Vacant(place) => Ok(place.insert(self.jobs().preview(source, spec, data).await?)),
        }
    }

    /// Sweeps, newest first.
    pub async fn sweeps(&self, filter: &SweepFilter, page: &Page) -> Result<Listing<SweepEntry>> {
        let sweeps = self.store.sweeps(filter, page).await?;
        let mut entries = Vec::with_capacity(sweeps.data.len());
        for sweep in sweeps.data {
            let states = states(&self.store.sweep_runs(&sweep.id).await?);
            entries.push(SweepEntry { sweep, states, runs: None });
        }
        Ok(Listing { data: entries, has_more: sweeps.has_more, next: sweeps.next })
    }

    /// One sweep with every point's state and metrics: of the given keys, else of the headlines.
    pub async fn sweep(&self, id: &str, keys: &[String]) -> Result<SweepEntry> {
        let usual = headline_keys();
        let keys = if keys.is_empty() { &usual } else { keys };
        let sweep = self.store.sweep(id).await?;
        let runs = self.store.sweep_runs(id).await?;
        let states = states(&runs);
        let mut points = Vec::with_capacity(runs.len());
        for run in runs {
            let metrics = self.summary(&run.id, keys).await?;
            let settings = run.sweep.as_ref().map(|point| point.settings.clone()).unwrap_or_default();
            points.push(SweepRun { settings, run, metrics });
        }
        Ok(SweepEntry { sweep, states, runs: Some(points) })
    }

    /// Asks every job of a sweep that has not ended to end.
    pub async fn cancel_sweep(&self, id: &str, reason: Option<&str>) -> Result<SweepEntry> {
        self.store.sweep(id).await?;
        for run in self.store.sweep_runs(id).await? {
            let possible = |state: JobState| state.can(Transition::Asked(JobAction::Cancel)).is_some();
            if !possible(run.state) {
                continue;
            }
            match self.jobs().ask(&run.job_id, JobAction::Cancel, reason).await {
                // It ended in the meantime.
                Ok(_) | Err(ServiceError::IllegalAction { .. } | ServiceError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.sweep(id, &[]).await
    }
}

impl Runs {
    /// Deletes a sweep with its runs, once all of its jobs have ended. A run that something still needs stops it; what
    /// was deleted before stays deleted, and the sweep holds the rest.
    pub async fn delete_sweep(&self, id: &str) -> Result<()> {
        self.store.sweep(id).await?;
        let runs = self.store.sweep_runs(id).await?;
        let active = runs.iter().filter(|run| !run.state.is_final()).count();
        if active > 0 {
            let detail = format!("{active} jobs of sweep `{id}` have not ended: cancel the sweep first");
            return Err(ServiceError::Conflict(detail));
        }
        for run in runs {
            match self.delete(&run.id).await {
                // Another request was faster.
                Ok(()) | Err(ServiceError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.store.delete_sweep(id).await?)
    }
}

fn sweep_name(request: &SweepRequest, grid: &Grid) -> Result<String> {
    if let Some(name) = &request.name {
        if name.trim().is_empty() || name.chars().count() > MAX_NAME || !name.chars().all(is_printable) {
            let detail = format!("`name` must be a string of 1 to {MAX_NAME} printable characters");
            return Err(ServiceError::field("/name", detail));
        }
        return Ok(name.clone());
    }
    let varied: Vec<String> = grid.as_map().keys().map(|name| name.trim_start_matches('/').replace('/', ".")).collect();
    let job = request.job.get("name").or_else(|| request.job.get("dataset")).and_then(Value::as_str);
    let name = format!("{} over {}", job.unwrap_or("job"), varied.join(", "));
    Ok(name.chars().filter(|c| is_printable(*c)).take(MAX_NAME).collect())
}

/// A fault of a point's job, reported as one of the grid where the grid set the value.
fn about(point: &Point, grid: &Map<String, Value>, fault: FieldError) -> FieldError {
    if fault.pointer.starts_with("/grid") {
        return fault;
    }
    let detail = format!("{} (at {})", fault.detail, point.label);
    let written = |pointer: &str| {
        let dotted = pointer.trim_start_matches('/').replace('/', ".");
        grid.keys().find(|name| *name == pointer || **name == dotted)
    };
    let varied = point.settings.keys().find(|set| fault.pointer.starts_with(set.as_str())).and_then(|set| written(set));
    match varied {
        Some(name) => FieldError::new(grid::at(name), detail),
        None => FieldError::new(format!("/job{}", fault.pointer), detail),
    }
}

fn states(runs: &[Run]) -> BTreeMap<String, u64> {
    let mut states = BTreeMap::new();
    for run in runs {
        *states.entry(run.state.name().to_owned()).or_insert(0) += 1;
    }
    states
}
