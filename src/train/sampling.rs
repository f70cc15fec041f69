//! Calls of the engine that samples. One on other servers may have to wait, so it is called on a thread of its own, and
//! a run that is asked to stop stops.

use std::ops::ControlFlow;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use super::engine::{RolloutEngine, Stop};
use super::error::TrainError;
use super::group::Sampled;
use super::publication::Publication;
use super::sink::{Control, RunSink};
use super::source::Prompt;
use super::trainer::Trainer;

/// Pause between two questions to the sink while an engine works.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What was asked for, or the request to stop that came before it.
type Answered<T> = Result<ControlFlow<Control, T>, TrainError>;

impl Trainer<'_> {
    /// Hands the weights as they are to the engine.
    pub(super) fn publish(&mut self) -> Answered<()> {
        if self.spec.rollout.engine.is_local() {
            return Ok(ControlFlow::Continue(()));
        }
        let weights = Publication {
            parameters: self.step.policy.folder.parameters(),
            files: &self.checkpoints.files,
            base: &self.checkpoints.base,
            data: &self.spec.data,
        };
        let (engine, version) = (self.step.engine.as_ref(), self.state.step);
        watched(self.sink, engine, |engine, stop| engine.publish(&weights, version, stop))
    }

    /// Samples a group of responses to every prompt.
    pub(super) fn sample(&mut self, prompts: Vec<Prompt>) -> Answered<Vec<Sampled>> {
        let (engine, settings) = (self.step.engine.as_ref(), self.step.sampling());
        if self.spec.rollout.engine.is_local() {
            return engine.sample(prompts, &settings, &Stop::default()).map(ControlFlow::Continue);
        }
        watched(self.sink, engine, |engine, stop| engine.sample(prompts, &settings, stop))
    }
}

/// `call`, which is told to stop when the sink asks for that.
fn watched<T: Send>(
    sink: &mut dyn RunSink,
    engine: &dyn RolloutEngine,
    call: impl FnOnce(&dyn RolloutEngine, &Stop) -> Result<T, TrainError> + Send,
) -> Answered<T> {
    let stop = Stop::default();
    let (done, result) = channel();
    std::thread::scope(|scope| {
        let stopped = stop.clone();
        let thread = scope.spawn(move || drop(done.send(call(engine, &stopped))));
        loop {
            match result.recv_timeout(ASK_EVERY) {
                Ok(result) => return result.map(ControlFlow::Continue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return match thread.join() {
                        Err(panic) => std::panic::resume_unwind(panic),
                        Ok(()) => Err(TrainError::Thread("the engine's thread ended without a result".to_owned())),
                    };
                }
            }
            if let ControlFlow::Break(control) = sink.control().flow() {
                stop.raise();
                return Ok(ControlFlow::Break(control));
            }
        }
    })
}
