//! The sink of a run over ranks: rank 0 has one, and its requests reach all ranks at the same point of a step.

use std::path::Path;

use super::Ranks;
use crate::domain::metric::StepMetrics;
use crate::domain::sample::SampleGroup;
use crate::train::reporter::Reporter;
use crate::train::sink::{CheckpointNotice, Control, ControlSignal, RunSink, SinkError};

/// Passes on what rank 0 produces, and to every rank what rank 0 is asked to do.
pub(in crate::train) struct RankSink<'s> {
    ranks: &'s Ranks,
    inner: &'s mut dyn RunSink,
}

impl<'s> RankSink<'s> {
    pub(in crate::train) fn new(ranks: &'s Ranks, inner: &'s mut dyn RunSink) -> Self {
        Self { ranks, inner }
    }

    fn first(&mut self) -> Option<&mut dyn RunSink> {
        if self.ranks.is_first() { Some(self.inner) } else { None }
    }
}

impl RunSink for RankSink<'_> {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.metrics(metrics))
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.samples(step, groups))
    }

    fn event(&mut self, kind: &str, message: &str, data: serde_json::Value) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.event(kind, message, data))
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.checkpoint(notice))
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.rows(chunk, dir))
    }

    fn evaluated(&mut self, step: u64, dir: &Path) -> Result<(), SinkError> {
        self.first().map_or(Ok(()), |sink| sink.evaluated(step, dir))
    }

    fn control(&mut self) -> Control {
        let own = self.first().map_or(Control::Continue, RunSink::control);
        if self.ranks.size() == 1 {
            return own;
        }
        let code = match own {
            Control::Continue => 0,
            Control::Yield => 1,
            Control::Cancel => 2,
        };
        match self.ranks.broadcast("control", vec![code]).as_deref() {
            Ok([1]) => Control::Yield,
            Ok([2]) => Control::Cancel,
            // The next operation of the ranks returns the error.
            _ => Control::Continue,
        }
    }

    /// Ranks stop between phases only, at the same point: a phase that one of them gave up would be missing.
    fn signal(&self) -> ControlSignal {
        if self.ranks.size() == 1 { self.inner.signal() } else { ControlSignal::default() }
    }

    fn reporter(&self) -> Reporter {
        if self.ranks.is_first() { self.inner.reporter() } else { Reporter::default() }
    }

    fn progress(&mut self, message: &str) {
        if let Some(sink) = self.first() {
            sink.progress(message);
        }
    }
}
