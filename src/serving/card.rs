//! Metadata of a model folder: what the model was trained for, and how its prompts are built.

use std::path::Path;

use serde::Deserialize;

use super::ServingError;
use super::answer::Warning;
use crate::domain::counted::counted;
use crate::domain::message::{Content, Message};
use crate::domain::model::CARD_FILE;
use crate::prompt::{PromptTemplate, RenderedPrompt, TextTokenizer};

/// Metadata of a model; every part may be absent.
#[derive(Debug, Default)]
pub struct Card {
    task: Option<String>,
    accepts: TaskLimits,
    /// How prompts were built in training.
    pub prompt: PromptSettings,
}

/// `accepts` of a card: what the model was trained on. Other requests are answered with a warning.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TaskLimits {
    /// Minimum number of images in a prompt.
    pub min_images: Option<usize>,
    /// Maximum number of images in a prompt.
    pub max_images: Option<usize>,
    /// Width and height in pixels of the images it was trained on.
    pub image_sizes: Option<Vec<[u32; 2]>>,
    /// Longest prompt in tokens.
    pub max_prompt_tokens: Option<usize>,
}

/// `prompt` of `vgpo.json`: the settings that the checkpoint was trained with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct PromptSettings {
    /// A system message before every `prompt`.
    pub system: Option<String>,
    /// Jinja template of a `prompt`'s text.
    pub prompt_template: Option<String>,
    /// Smallest image area in pixels.
    pub min_pixels: Option<u64>,
    /// Largest image area in pixels.
    pub max_pixels: Option<u64>,
    /// Whether the model reasons before it answers, where its chat template asks.
    pub enable_thinking: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CardFile {
    task: Option<String>,
    accepts: TaskLimits,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NotesFile {
    card: Option<CardFile>,
    prompt: PromptSettings,
}

impl Card {
    /// Reads `card.json` and `vgpo.json` of a model folder; `card` in `vgpo.json` replaces a missing `card.json`.
    ///
    /// # Errors
    /// A file that exists but cannot be read.
    pub fn read(dir: &Path, model: &str) -> Result<Self, ServingError> {
        let notes: NotesFile = read_optional(&dir.join(CARD_FILE), model)?.unwrap_or_default();
        let card = read_optional(&dir.join("card.json"), model)?.or(notes.card).unwrap_or_default();
        Ok(Self { task: card.task, accepts: card.accepts, prompt: notes.prompt })
    }

    /// The text of a `prompt` as in training.
    ///
    /// # Errors
    /// A template that cannot be used.
    pub fn prompt_text(&self, prompt: &str) -> Result<String, crate::prompt::PromptError> {
        match &self.prompt.prompt_template {
            Some(source) => PromptTemplate::parse(source)?.apply(prompt),
            None => Ok(prompt.to_owned()),
        }
    }

    /// Warnings about a prompt that is unlike what the model was trained on.
    pub fn warnings(&self, prompt: &RenderedPrompt, messages: &[Message], tokenizer: &TextTokenizer) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let outside = self.accepts.broken_by(prompt);
        if !outside.is_empty() {
            let task =
                self.task.as_deref().map(|t| format!(" (its task: {})", t.trim_end_matches('.'))).unwrap_or_default();
            let detail = format!("the model was not trained on this{task}: {}", outside.join("; "));
            warnings.push(Warning { code: "outside_task".to_owned(), detail });
        }
        let unknown: Vec<String> = texts(messages).iter().flat_map(|t| tokenizer.out_of_vocabulary(t)).collect();
        if !unknown.is_empty() {
            let shown: Vec<&str> = unknown.iter().take(8).map(String::as_str).collect();
            let more = if unknown.len() > shown.len() { " …" } else { "" };
            let detail = format!(
                "these words are not in the model's vocabulary and are read as unknown: {}{more}",
                shown.join(", ")
            );
            warnings.push(Warning { code: "out_of_vocabulary".to_owned(), detail });
        }
        warnings
    }
}

impl TaskLimits {
    fn broken_by(&self, prompt: &RenderedPrompt) -> Vec<String> {
        let mut broken = Vec::new();
        let images = prompt.layout.len();
        if self.min_images.is_some_and(|min| images < min) || self.max_images.is_some_and(|max| images > max) {
            let (min, max) = (self.min_images.unwrap_or(0), self.max_images);
            let range = max.map_or(format!("at least {min}"), |max| format!("{min} to {max}"));
            broken.push(format!("the prompt has {} instead of {range}", counted(images, "image", "images")));
        }
        if let Some(sizes) = &self.image_sizes {
            for (index, image) in prompt.layout.iter().enumerate() {
                let (width, height) = image.original;
                if !sizes.contains(&[width, height]) {
                    let known: Vec<String> = sizes.iter().map(|[w, h]| format!("{w}x{h}")).collect();
                    broken.push(format!("image {index} has {width}x{height} pixels instead of {}", known.join(", ")));
                }
            }
        }
        if let Some(max) = self.max_prompt_tokens.filter(|max| prompt.ids.len() > *max) {
            broken.push(format!("the prompt has {} tokens instead of at most {max}", prompt.ids.len()));
        }
        broken
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .flat_map(|message| match &message.content {
            Content::Text(text) => vec![text.as_str()],
            Content::Parts(parts) => parts.iter().filter_map(crate::domain::message::Part::text).collect(),
        })
        .collect()
}

fn read_optional<T: for<'de> Deserialize<'de>>(path: &Path, model: &str) -> Result<Option<T>, ServingError> {
    let fault = |problem: String| ServingError::ModelFolder {
        model: model.to_owned(),
        problem: format!("{}: {problem}", path.display()),
    };
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|e| fault(e.to_string())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(error.to_string())),
    }
}
