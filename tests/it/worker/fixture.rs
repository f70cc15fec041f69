//! A worker with a trainer that only counts, in this process or in one of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio_util::sync::CancellationToken;
use vgpo::artifacts::{self, JobLogs};
use vgpo::clock::{SystemClock, new_id};
use vgpo::config::worker::WorkerTimings;
use vgpo::domain::device::DeviceName;
use vgpo::domain::job::{Job, JobState, NewJob};
use vgpo::domain::metric::{SeriesQuery, StepMetrics};
use vgpo::domain::spec::JobSpec;
use vgpo::store::{self, Database};
use vgpo::train::sink::{CheckpointNotice, Control, RunSink};
use vgpo::worker::{self, JobLog, JobRunner, JobTask, RunEnd, RunnerError, WorkerConfig, WorkerError};

use crate::store::fixture as records;

/// Fast, except for the lease: whatever ends sooner did not wait for it.
pub const TIMINGS: WorkerTimings = WorkerTimings {
    poll: Duration::from_millis(10),
    poll_most: Duration::from_millis(10),
    lease_ttl: Duration::from_secs(120),
    heartbeat: Duration::from_millis(40),
    presence: Duration::from_millis(100),
    flush: Duration::from_millis(20),
    retry_first: Duration::from_millis(30),
    retry_most: Duration::from_secs(1),
    restart_first: Duration::from_millis(20),
    restart_most: Duration::from_secs(1),
    stop_grace: Duration::from_secs(20),
    orphan_grace: Duration::from_secs(2),
};

/// A folder with a database, artifacts and everything a worker writes.
pub struct Place {
    pub root: PathBuf,
    pub store: Arc<dyn Database>,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut place = Self::at(folder.path()).await;
        place._folder = Some(folder);
        place
    }

    pub async fn at(root: &Path) -> Self {
        let url = format!("sqlite:{}", root.join("vgpo.db").display());
        let store = store::open(&url, Arc::new(SystemClock)).await.unwrap();
        Self { root: root.to_path_buf(), store, _folder: None }
    }

    pub fn config(&self, id: &str) -> WorkerConfig {
        WorkerConfig {
            id: id.to_owned(),
            device: DeviceName::CPU,
            ranks: 1,
            store: self.store.clone(),
            artifacts: artifacts::open(&format!("file:{}", self.root.join("artifacts").display())).unwrap(),
            clock: Arc::new(SystemClock),
            runner: Arc::new(Counter),
            log: self.log(),
            timings: TIMINGS,
            work_dir: self.root.join("work"),
            lock_dir: self.root.join("locks"),
        }
    }

    pub fn logs(&self) -> JobLogs {
        JobLogs::new(&self.root.join("logs"))
    }

    pub fn log(&self) -> JobLog {
        JobLog::new(self.logs(), Arc::new(SystemClock))
    }

    pub fn start(&self) -> Running {
        let (drain, abandon) = (CancellationToken::new(), CancellationToken::new());
        let config = self.config(&new_id("wrk"));
        let id = config.id.clone();
        let task = tokio::spawn(worker::run(config, drain.clone(), abandon.clone()));
        Running { id, drain, abandon, task }
    }

    pub async fn submit(&self, change: impl FnOnce(&mut JobSpec)) -> Job {
        let mut spec = records::spec();
        (spec.steps, spec.checkpoint_every, spec.keep_checkpoints) = (12, 3, 2);
        change(&mut spec);
        self.store
            .submit(NewJob { spec, origins: json!({}), created_by: None, base_model: None, alert_webhook: None })
            .await
            .unwrap()
            .0
    }

    /// Waits until the job is in one of `states`.
    pub async fn wait(&self, job: &Job, states: &[JobState]) -> Job {
        let waiting = async {
            loop {
                let now = self.store.job(&job.id).await.unwrap();
                if states.contains(&now.state) {
                    return now;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(Duration::from_secs(30), waiting).await {
            Ok(job) => job,
            Err(_) => panic!("waited for {states:?}, but: {:?}", records::history(&*self.store, &job.id).await),
        }
    }

    pub async fn steps(&self, job: &Job) -> Vec<(u64, f64)> {
        let whole = SeriesQuery { from_step: None, to_step: None, max_points: None };
        let series = self.store.metric_series(&job.run_id, "reward/mean", &whole).await.unwrap();
        series.into_iter().map(|p| (p.step, p.mean.unwrap())).collect()
    }

    /// Waits until at least `step` is on record.
    pub async fn wait_for_step(&self, job: &Job, step: u64) {
        let waiting = async {
            while self.store.run(&job.run_id).await.unwrap().last_step < Some(step) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("the job does not get on");
    }

    pub async fn reasons(&self, job: &Job) -> Vec<String> {
        let told = records::history(&*self.store, &job.id).await;
        told.into_iter().map(|c| format!("{}: {}", c.to, c.reason)).collect()
    }
}

/// A worker in this process.
pub struct Running {
    pub id: String,
    pub drain: CancellationToken,
    pub abandon: CancellationToken,
    pub task: tokio::task::JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    pub async fn stop(self) {
        self.drain.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it stops").unwrap().unwrap();
    }
}

/// Counts steps; the tags of the job say how long a step takes (`ms`), where it fails (`at`) and how (`do`), on the
/// first attempt only unless `always` is set. A step's reward is the sum of all steps so far, carried in checkpoints.
pub struct Counter;

impl JobRunner for Counter {
    fn run(&self, task: &JobTask, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError> {
        let tag = |name: &str| task.job.tags.get(name).map(String::as_str);
        let number = |name: &str| tag(name).map_or(0, |t| t.parse::<u64>().unwrap());
        let failed = |e: &dyn std::fmt::Display| RunnerError::Transient(e.to_string());
        assert!(std::fs::read_dir(&task.work_dir).unwrap().next().is_none(), "the work folder starts empty");
        let (mut step, mut sum) = match &task.resume {
            None => (0, 0),
            Some(point) => (point.step, std::fs::read_to_string(point.dir.join("sum")).unwrap().parse().unwrap()),
        };
        sink.event("note.start", "starting", json!({"attempt": task.job.attempt, "from": step})).unwrap();
        while step < task.spec.steps {
            std::thread::sleep(Duration::from_millis(number("ms")));
            match sink.control() {
                Control::Continue => (),
                Control::Yield => {
                    save(task, sink, step, sum).map_err(|e| failed(&e))?;
                    return Ok(RunEnd::Yielded);
                }
                Control::Cancel => return Ok(RunEnd::Cancelled),
            }
            step += 1;
            sum += step;
            if step == number("at") && (task.job.attempt == 1 || tag("always").is_some()) {
                match tag("do") {
                    Some("panic") => panic!("step {step} went off the rails"),
                    Some("permanent") => {
                        return Err(RunnerError::Permanent("`data.columns.answer`: no such column".to_owned()));
                    }
                    Some("transient") => return Err(RunnerError::Transient("disk full".to_owned())),
                    other => panic!("unknown: {other:?}"),
                }
            }
            let values = [("reward/mean".to_owned(), sum as f64), ("accuracy".to_owned(), 0.5)].into();
            let metrics = StepMetrics { step, samples: step * 8, tokens: step * 80, values };
            sink.metrics(&metrics).map_err(|e| failed(&e))?;
            if step % 4 == 0 {
                sink.samples(step, &[records::group(step)]).map_err(|e| failed(&e))?;
            }
            if step % task.spec.checkpoint_every == 0 || step == task.spec.steps {
                save(task, sink, step, sum).map_err(|e| failed(&e))?;
            }
        }
        Ok(RunEnd::Finished { reason: "finished".to_owned() })
    }
}

fn save(task: &JobTask, sink: &mut dyn RunSink, step: u64, sum: u64) -> Result<(), vgpo::train::sink::SinkError> {
    let dir = task.work_dir.join(format!("step-{step}"));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("sum"), sum.to_string()).unwrap();
    // The first third is the best: pruning must keep it.
    let accuracy = Some(if step == 3 { 0.9 } else { 0.1 });
    sink.checkpoint(CheckpointNotice { step, dir: &dir, accuracy, score: accuracy, last: step == task.spec.steps })?;
    assert!(!dir.exists(), "the sink takes the folder over");
    Ok(())
}

const CHILD_ROOT: &str = "VGPO_TEST_CHILD_ROOT";
const CHILD_ID: &str = "VGPO_TEST_CHILD_ID";

/// The command of a worker process: this test program, running only `child_process`.
pub fn child(root: &Path, id: &str) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "worker::fixture::child_process", "--ignored", "--nocapture"]);
    command.env(CHILD_ROOT, root).env(CHILD_ID, id).env("RUST_BACKTRACE", "0");
    command.stdout(std::process::Stdio::null());
    command
}

/// Not a test: the main function of worker processes.
#[test]
#[ignore = "runs in child processes of other tests"]
fn child_process() {
    let (Ok(root), Ok(id)) = (std::env::var(CHILD_ROOT), std::env::var(CHILD_ID)) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(async {
        let drain = worker::stop_signals().unwrap();
        let abandon = worker::follow_parent(drain.clone(), TIMINGS.orphan_grace).unwrap();
        let place = Place::at(Path::new(&root)).await;
        worker::run(place.config(&id), drain, abandon).await
    });
    std::process::exit(if ended.is_ok() { 0 } else { 3 });
}
