//! A rank's process: it reads the plan, trains, and, as rank 0, reports to the worker.

use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::messages::{Answer, Ended, RankPlan, Said};
use crate::collective::{Collective, Fault};
use crate::domain::device::{DeviceName, UnknownDevice};
use crate::domain::metric::StepMetrics;
use crate::domain::sample::SampleGroup;
use crate::domain::spec::DeviceClass;
use crate::footprint::{Site, machine, sampling_room};
use crate::model;
use crate::model::lora::peft::BaseModel;
use crate::reward::Backends;
use crate::train::engine::ForeignEngines;
use crate::train::sink::{CheckpointNotice, Control, ResumePoint, RunSink, SinkError};
use crate::train::{self, RunEnd, TrainRequest};

/// After an error a rank leaves it to rank 0 to report it: when that one ends, the launcher ends all.
const LEAVE_AFTER: Duration = Duration::from_secs(10);

/// Runs one rank to its end. Returns whether all went well; the process is to end then.
pub fn run(plan: &RankPlan, ranks: Arc<dyn Collective>, rewards: Backends) -> bool {
    let first = ranks.rank() == 0;
    let mut silent = Silent;
    let mut worker = first.then(WorkerSink::start);
    let ended = match request(plan, rewards) {
        Err(message) => {
            ranks.fail(&Fault::new(message.clone(), true));
            Ended::Failed { message, permanent: true }
        }
        Ok(request) => {
            let sink: &mut dyn RunSink = worker.as_mut().map_or(&mut silent, |worker| worker);
            match train::run_on(request, sink, ranks) {
                Ok(RunEnd::Finished { stopped_early, .. }) => Ended::Finished { stopped_early },
                Ok(RunEnd::Yielded) => Ended::Yielded,
                Ok(RunEnd::Cancelled) => Ended::Cancelled,
                Err(error) => Ended::Failed { message: error.to_string(), permanent: error.is_permanent() },
            }
        }
    };
    let failed = matches!(ended, Ended::Failed { .. });
    match worker {
        Some(mut worker) => {
            worker.ended.store(true, Ordering::Relaxed);
            if let Err(error) = worker.tell(&Said::Ended(ended)) {
                tracing::error!(%error, "the worker could not be told how the run ended");
            }
        }
        None if failed => std::thread::sleep(LEAVE_AFTER),
        None => {}
    }
    !failed
}

fn request(plan: &RankPlan, rewards: Backends) -> Result<TrainRequest, String> {
    let plan = plan.clone();
    let device: DeviceName = plan.device.parse().map_err(|error: UnknownDevice| error.to_string())?;
    let dataset = plan.dataset.open().map_err(|error| format!("`dataset`: {error}"))?;
    let eval_dataset = match &plan.eval_dataset {
        Some(source) => source.open().map_err(|error| format!("`eval_dataset`: {error}"))?,
        None => Arc::clone(&dataset),
    };
    let site = Site::new(device.class() == DeviceClass::Cpu, machine::device_memory(device));
    let room = model::size(&plan.model_dir).ok().and_then(|size| sampling_room(size, &plan.spec, site));
    Ok(TrainRequest {
        spec: plan.spec,
        model_dir: plan.model_dir,
        base: plan.base.map(|(name, revision)| BaseModel { name, revision }),
        device,
        dataset,
        eval_dataset,
        work_dir: plan.work_dir,
        run: plan.run,
        rewards,
        engines: ForeignEngines::default(),
        resume: plan.resume.map(|(dir, step)| ResumePoint { dir, step }),
        room,
        rows: plan.rows,
    })
}

/// Rank 0's way to the worker.
struct WorkerSink {
    answers: Receiver<String>,
    /// The run has ended: the worker may go.
    ended: Arc<AtomicBool>,
}

impl WorkerSink {
    /// Listens to the worker. When it is gone, the process ends at once, whatever it is doing.
    fn start() -> Self {
        let (lines, answers) = channel();
        let ended = Arc::new(AtomicBool::new(false));
        let may_go = Arc::clone(&ended);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
            if !may_go.load(Ordering::Relaxed) {
                std::process::exit(1);
            }
        });
        Self { answers, ended }
    }

    fn tell(&mut self, said: &Said) -> Result<Answer, SinkError> {
        let failed = |error: &dyn std::fmt::Display| SinkError(format!("the worker cannot be reached: {error}"));
        let mut line = serde_json::to_vec(said).map_err(|error| failed(&error))?;
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush()).map_err(|error| failed(&error))?;
        let answer = self.answers.recv().map_err(|error| failed(&error))?;
        serde_json::from_str(&answer).map_err(|error| failed(&error))
    }

    fn hand_over(&mut self, said: &Said) -> Result<(), SinkError> {
        match self.tell(said)? {
            Answer::Failed(problem) => Err(SinkError(problem)),
            _ => Ok(()),
        }
    }
}

impl RunSink for WorkerSink {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        self.hand_over(&metrics.into())
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        self.hand_over(&Said::Samples { step, groups: groups.to_vec() })
    }

    fn event(&mut self, kind: &str, message: &str, data: serde_json::Value) -> Result<(), SinkError> {
        self.hand_over(&Said::Event { kind: kind.to_owned(), message: message.to_owned(), data })
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        let CheckpointNotice { step, dir, accuracy, score, last } = notice;
        self.hand_over(&Said::Checkpoint { step, dir: dir.to_owned(), accuracy, score, last })
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        self.hand_over(&Said::Rows { chunk, dir: dir.to_owned() })
    }

    fn evaluated(&mut self, step: u64, dir: &Path) -> Result<(), SinkError> {
        self.hand_over(&Said::Evaluated { step, dir: dir.to_owned() })
    }

    fn control(&mut self) -> Control {
        match self.tell(&Said::Control) {
            Ok(Answer::Yield) => Control::Yield,
            Ok(Answer::Cancel) => Control::Cancel,
            // A worker that is gone ends the process.
            _ => Control::Continue,
        }
    }

    fn progress(&mut self, message: &str) {
        if let Err(error) = self.hand_over(&Said::Progress { message: message.to_owned() }) {
            tracing::warn!(%error, "progress could not be told");
        }
    }
}

/// The sink of every other rank.
struct Silent;

impl RunSink for Silent {
    fn metrics(&mut self, _: &StepMetrics) -> Result<(), SinkError> {
        Ok(())
    }

    fn samples(&mut self, _: u64, _: &[SampleGroup]) -> Result<(), SinkError> {
        Ok(())
    }

    fn event(&mut self, _: &str, _: &str, _: serde_json::Value) -> Result<(), SinkError> {
        Ok(())
    }

    fn checkpoint(&mut self, _: CheckpointNotice<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn rows(&mut self, _: u64, _: &Path) -> Result<(), SinkError> {
        Ok(())
    }

    fn control(&mut self) -> Control {
        Control::Continue
    }
}
