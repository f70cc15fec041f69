//! Builds the starter: an empty model, vision pre-training, then supervised training on forgetful demonstrations.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::checkpoints::MAX_SHARD_BYTES;
use crate::domain::device::DeviceName;
use crate::domain::metric::StepMetrics;
use crate::domain::model::CARD_FILE;
use crate::domain::sample::SampleGroup;
use crate::model::{ModelFolder, View};
use crate::prompt::Processor;
use crate::reward::Backends;

use crate::train::checkpoint::TRAINER_DIR;
use crate::train::engine::ForeignEngines;
use crate::train::error::{TrainError, file_error};
use crate::train::reporter::Reporter;
use crate::train::sink::{CheckpointNotice, Control, ControlSignal, RunSink, SinkError};
use crate::train::{self, RunEnd, TrainRequest};

use super::lesson::Lesson;
use super::recipe::Recipe;
use super::{NAME, blank, card, pretrain};

/// What was built.
#[derive(Debug, Clone, PartialEq)]
pub struct Built {
    /// Share of held-out digits that the vision tower names, before supervised training.
    pub vision_accuracy: f64,
    /// Greedy held-out accuracy of the starter.
    pub accuracy: Option<f64>,
}

/// Builds the starter into `out`, which must not exist. Its card is stored with the model, together with the recipe and
/// its results.
pub fn build(out: &Path, recipe: &Recipe, sink: &mut dyn RunSink) -> Result<Built, TrainError> {
    if out.exists() {
        return Err(TrainError::Setting {
            field: "out",
            problem: format!("{} exists; name a folder that does not", out.display()),
        });
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(file_error(parent))?;
    let work = tempfile::Builder::new().prefix(".starter-").tempdir_in(parent).map_err(file_error(parent))?;
    let blank = work.path().join("blank");
    let lesson = Lesson::open(recipe.survey)?;
    blank::write(&blank, recipe, &lesson)?;
    let vision_accuracy = see(&blank, recipe, &lesson)?;
    sink.event("starter.vision", "vision pre-training done", json!({ "accuracy": vision_accuracy }))?;

    let mut last = LastCheckpoint { inner: sink, dir: None };
    let request = TrainRequest {
        room: None,
        spec: recipe.job()?,
        model_dir: blank,
        device: DeviceName::CPU,
        dataset: lesson.demonstrations(),
        eval_dataset: lesson.demonstrations(),
        run: NAME.to_owned(),
        base: None,
        engines: ForeignEngines::default(),
        rewards: Backends::default(),
        work_dir: work.path().join("sft"),
        resume: None,
        rows: Vec::new(),
    };
    let RunEnd::Finished { accuracy, .. } = train::run(request, &mut last)? else {
        return Err(TrainError::Thread("the supervised run was stopped".to_owned()));
    };
    let trained = last.dir.ok_or_else(|| TrainError::Thread("the supervised run left no checkpoint".to_owned()))?;
    let trainer = trained.join(TRAINER_DIR);
    std::fs::remove_dir_all(&trainer).map_err(file_error(&trainer))?;
    let built = Built { vision_accuracy, accuracy };
    write_card(&trained.join(CARD_FILE), &card::card(recipe), recipe, &built)?;
    std::fs::rename(&trained, out).map_err(file_error(out))?;
    Ok(built)
}

/// Vision pre-training, with its weights written over those of the folder.
fn see(blank: &Path, recipe: &Recipe, lesson: &Lesson) -> Result<f64, TrainError> {
    let folder = ModelFolder::open(blank, &candle_core::Device::Cpu)?;
    let model = folder.model(View::Tracked)?;
    let processor = Processor::from_dir(blank, model.info()).map_err(TrainError::PromptSettings)?;
    let accuracy = pretrain::run(model.as_ref(), folder.parameters(), &processor, lesson, recipe)?;
    folder.parameters().save(blank, MAX_SHARD_BYTES)?;
    Ok(accuracy)
}

fn write_card(path: &Path, card: &Value, recipe: &Recipe, built: &Built) -> Result<(), TrainError> {
    let text = std::fs::read_to_string(path).map_err(file_error(path))?;
    let bad =
        |e: serde_json::Error| TrainError::Checkpoint { path: path.display().to_string(), problem: e.to_string() };
    let mut all: Value = serde_json::from_str(&text).map_err(bad)?;
    if let (Some(all), Some(card)) = (all.as_object_mut(), card.as_object()) {
        all.extend(card.clone());
        all.insert(
            "made_with".to_owned(),
            json!({
                "command": "vgpo starter build",
                "recipe": recipe,
                "vision_accuracy": built.vision_accuracy,
                "accuracy": built.accuracy,
            }),
        );
    }
    std::fs::write(path, format!("{all:#}\n")).map_err(file_error(path))
}

/// Passes everything on and remembers the path of the newest checkpoint.
struct LastCheckpoint<'a> {
    inner: &'a mut dyn RunSink,
    dir: Option<PathBuf>,
}

impl RunSink for LastCheckpoint<'_> {
    fn metrics(&mut self, metrics: &StepMetrics) -> Result<(), SinkError> {
        self.inner.metrics(metrics)
    }

    fn samples(&mut self, step: u64, groups: &[SampleGroup]) -> Result<(), SinkError> {
        self.inner.samples(step, groups)
    }

    fn event(&mut self, kind: &str, message: &str, data: Value) -> Result<(), SinkError> {
        self.inner.event(kind, message, data)
    }

    fn checkpoint(&mut self, notice: CheckpointNotice<'_>) -> Result<(), SinkError> {
        self.dir = Some(notice.dir.to_owned());
        Ok(())
    }

    fn rows(&mut self, chunk: u64, dir: &Path) -> Result<(), SinkError> {
        self.inner.rows(chunk, dir)
    }

    fn control(&mut self) -> Control {
        self.inner.control()
    }

    fn signal(&self) -> ControlSignal {
        self.inner.signal()
    }

    fn reporter(&self) -> Reporter {
        self.inner.reporter()
    }

    fn progress(&mut self, message: &str) {
        self.inner.progress(message);
    }
}
