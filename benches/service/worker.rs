//! Metrics through a worker: what a trainer tells as fast as it can, until all of it is on record.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use vgpo::artifacts::{self, JobLogs};
use vgpo::clock::{Stopwatch, SystemClock};
use vgpo::config::worker::WorkerTimings;
use vgpo::domain::device::DeviceName;
use vgpo::domain::job::JobState;
use vgpo::domain::metric::StepMetrics;
use vgpo::train::sink::RunSink;
use vgpo::worker::{self, JobLog, JobRunner, JobTask, RunEnd, RunnerError, WorkerConfig};

use crate::fixture::{Db, new_job};
use crate::report::{Bound, Report};

const STEPS: u64 = 10_000;
const KEYS: usize = 50;

/// Tells metrics and does nothing else.
struct Teller;

impl JobRunner for Teller {
    fn run(&self, _: &JobTask, sink: &mut dyn RunSink) -> Result<RunEnd, RunnerError> {
        let values: BTreeMap<_, _> = (0..KEYS).map(|key| (format!("group/key_{key}"), 0.25)).collect();
        for step in 1..=STEPS {
            let metrics = StepMetrics { step, samples: step * 256, tokens: step * 10_000, values: values.clone() };
            sink.metrics(&metrics).map_err(|error| RunnerError::Transient(error.to_string()))?;
        }
        Ok(RunEnd::Finished { reason: "told".to_owned() })
    }
}

/// From the start of the job to its end: the worker ends it when everything is durable.
pub async fn ingests(name: &str, db: &Db, report: &mut Report) {
    let folder = tempfile::tempdir().unwrap();
    let (root, clock) = (folder.path(), Arc::new(SystemClock));
    let config = WorkerConfig {
        id: "wrk_bench".to_owned(),
        device: DeviceName::CPU,
        ranks: 1,
        store: db.store.clone(),
        artifacts: artifacts::open(&format!("file:{}", root.join("artifacts").display())).unwrap(),
        clock: clock.clone(),
        runner: Arc::new(Teller),
        log: JobLog::new(JobLogs::new(&root.join("logs")), clock),
        timings: WorkerTimings::default(),
        work_dir: root.join("work"),
        lock_dir: root.join("locks"),
    };
    let (job, _) = db.store.submit(new_job(|_| ())).await.unwrap();
    let drain = CancellationToken::new();
    let watch = Stopwatch::start();
    let working = tokio::spawn(worker::run(config, drain.clone(), CancellationToken::new()));
    loop {
        let state = db.store.job(&job.id).await.unwrap().state;
        if state.is_final() {
            assert_eq!(state, JobState::Succeeded);
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let speed = (STEPS * KEYS as u64) as f64 / watch.seconds();
    let what = "metrics through a worker, 50 keys a step, until durable";
    report.row(name, what, speed, "points/s", Bound::Least(50_000.0));
    drain.cancel();
    working.await.unwrap().unwrap();
}
