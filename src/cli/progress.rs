//! Progress of a run on a terminal, and its records in files, for `vgpo train` and `vgpo starter build`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::domain::metric::{EVAL_ACCURACY, StepMetrics, TOKENS_PER_SECOND, headlines};
use crate::domain::sample::SampleGroup;
use crate::train::reporter::Reporter;
use crate::train::sink::{CheckpointNotice, Control, ControlSignal, RunSink, SinkError};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

/// Shows a bar and appends `metrics.jsonl`, `samples.jsonl` and `events.jsonl` in a folder.
pub struct Foreground {
    bar: ProgressBar,
    dir: PathBuf,
    stop: Arc<AtomicBool>,
    newest: Option<PathBuf>,
    keep_checkpoints: bool,
}

impl Foreground {
    /// Reports a run of `steps` steps into `dir`. `stop` becomes true when the user interrupts it.
    pub fn new(dir: &Path, steps: u64, stop: Arc<AtomicBool>, keep_checkpoints: bool) -> Self {
        let bar = ProgressBar::new(steps);
        let style = ProgressStyle::with_template("{bar:24} {pos}/{len} {msg} [{elapsed} left {eta}]");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, dir: dir.to_owned(), stop, newest: None, keep_checkpoints }
    }

    fn append(&self, name: &str, line: &Value) -> Result<(), SinkError> {
        let path = self.dir.join(name);
        let write = || -> std::io::Result<()> {
            let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
            writeln!(file, "{line}")
        };
        write().map_err(|e| SinkError(format!("cannot write {}: {e}", path.display())))
    }
}

/// Subfolder of an evaluation's rows.
const ROWS_DIR: &str = "rows";

/// The folder of a chunk of an evaluation.
fn chunk_dir(dir: &Path, chunk: u64) -> PathBuf {
    dir.join(ROWS_DIR).join(format!("{chunk:08}"))
}

/// The chunks that an evaluation in this folder has finished. Each appears by one rename, so each is complete.
pub fn finished_chunks(dir: &Path) -> Vec<PathBuf> {
    (1..=u64::from(u32::MAX)).map(|chunk| chunk_dir(dir, chunk)).take_while(|chunk| chunk.is_dir()).collect()
}

/// A step in one line: its headlines and its speed, as far as `value` knows them.
pub fn summary(value: impl Fn(&str) -> Option<f64>) -> String {
    let shown = headlines().chain([(TOKENS_PER_SECOND, "tokens/s")]);
    let part = |(key, name): (&str, &str)| {
        value(key).map(|v| if v >= 100.0 { format!("{name} {v:.0}") } else { format!("{name} {v:.3}") })
    };
    shown.filter_map(part).collect::<Vec<_>>().join("  ")
}

impl RunSink for Foreground {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        self.bar.set_position(metrics.step);
        self.bar.set_message(summary(|key| metrics.values.get(key).copied()));
        if let Some(accuracy) = metrics.values.get(EVAL_ACCURACY) {
            self.bar.println(format!("step {:>4}: held-out accuracy {:.1}%", metrics.step, 100.0 * accuracy));
        }
        self.append("metrics.jsonl", &json!(metrics))
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        groups.iter().try_for_each(|group| self.append("samples.jsonl", &json!({ "step": step, "group": group })))
    }

    fn event(&mut self, kind: &str, message: &str, data: Value) -> Result<(), SinkError> {
        self.bar.println(format!("{kind}: {message} {data}"));
        self.append("events.jsonl", &json!({ "kind": kind, "message": message, "data": data }))
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        let older = self.newest.replace(notice.dir.to_owned());
        if let Some(older) = older.filter(|older| !self.keep_checkpoints && older != notice.dir) {
            std::fs::remove_dir_all(&older)
                .map_err(|e| SinkError(format!("cannot remove {}: {e}", older.display())))?;
        }
        Ok(())
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        let place = chunk_dir(&self.dir, chunk);
        let moved = std::fs::create_dir_all(self.dir.join(ROWS_DIR)).and_then(|()| std::fs::rename(dir, &place));
        moved.map_err(|e| SinkError(format!("cannot write {}: {e}", place.display())))
    }

    fn control(&mut self) -> Control {
        self.signal().now()
    }

    fn signal(&self) -> ControlSignal {
        let stop = Arc::clone(&self.stop);
        ControlSignal::new(move || if stop.load(Ordering::Relaxed) { Control::Yield } else { Control::Continue })
    }

    fn reporter(&self) -> Reporter {
        let bar = self.bar.clone();
        Reporter::new(move |message| bar.set_message(message))
    }

    fn progress(&mut self, message: &str) {
        self.bar.set_message(message.to_owned());
    }
}
