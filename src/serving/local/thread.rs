//! The compute thread of a loaded model: it takes jobs from a bounded queue and decodes those that wait together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use super::decode::{Decode, Progress, RowPlan};
use super::job::{GenerateJob, Job, RawEvent, ScoreJob};
use super::score::score;
use crate::serving::ServingError;
use crate::serving::model::ServedModel;

/// Works until the queue is closed and empty.
pub fn run(served: &Arc<ServedModel>, queue: &Receiver<Job>, waiting: &AtomicUsize, batch_rows: usize) {
    let taken = |job| {
        waiting.fetch_sub(1, Ordering::Relaxed);
        job
    };
    let mut held = None;
    while let Some(job) = held.take().or_else(|| queue.recv().ok().map(taken)) {
        match job {
            Job::Score(job) => run_score(served, *job),
            Job::Generate(first) => {
                let mut rows = first.sampling.choices;
                let mut jobs = vec![*first];
                while !jobs[0].sampling.alone && held.is_none() {
                    match queue.try_recv().map(taken) {
                        Ok(Job::Generate(next)) if joins(&next, rows, batch_rows) => {
                            rows += next.sampling.choices;
                            jobs.push(*next);
                        }
                        Ok(other) => held = Some(other),
                        Err(_) => break,
                    }
                }
                run_generate(served, jobs);
            }
        }
    }
}

fn joins(job: &GenerateJob, rows: usize, batch_rows: usize) -> bool {
    !job.sampling.alone && rows + job.sampling.choices <= batch_rows
}

fn run_generate(served: &ServedModel, mut jobs: Vec<GenerateJob>) {
    jobs.retain(|job| !job.cancelled.is_raised());
    if jobs.is_empty() {
        return;
    }
    let mut progress: Vec<Progress> = jobs.iter().map(Progress::start).collect();
    let all: Vec<RowPlan> =
        jobs.iter().enumerate().flat_map(|(i, job)| (0..job.sampling.choices).map(move |choice| (i, choice))).collect();
    let batches: Vec<&[RowPlan]> = if jobs[0].sampling.alone { all.chunks(1).collect() } else { vec![all.as_slice()] };
    for plan in batches {
        if jobs.iter().all(|job| job.cancelled.is_raised()) {
            return;
        }
        let decode = || Decode::prefill(served, &jobs, &mut progress, plan)?.run();
        if let Err(error) = guarded(decode) {
            tracing::error!(model = %served.id, %error, "a batch failed");
            for job in &jobs {
                // A closed channel means that nobody listens any more, which is no error.
                let _ = job.events.send(RawEvent::Failed(error.clone()));
            }
            return;
        }
    }
}

fn run_score(served: &ServedModel, job: ScoreJob) {
    if job.result.is_closed() {
        return;
    }
    let scores = guarded(|| score(served, &job));
    if let Err(error) = &scores {
        tracing::error!(model = %served.id, %error, "scoring failed");
    }
    let _ = job.result.send(scores);
}

/// A panic becomes an error of the requests it hit; the model itself keeps no state between jobs.
fn guarded<T>(work: impl FnOnce() -> Result<T, ServingError>) -> Result<T, ServingError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
        Err(ServingError::Engine(text.unwrap_or_else(|| "it panicked".to_owned())))
    })
}
