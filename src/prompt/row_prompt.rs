//! Rows of a data set as messages.

use std::collections::BTreeMap;

use minijinja::{Environment, UndefinedBehavior, Value};

use super::{PromptError, permitted};
use crate::domain::counted::counted;
use crate::domain::message::{Content, Message, Part, Role};

/// What marks an image's place in a row's prompt.
const IMAGE_MARK: &str = "<image>";
const NAME: &str = "prompt_template";

/// A job's `prompt_template`: sandboxed Jinja in which `prompt` is the row's prompt.
#[derive(Debug)]
pub struct PromptTemplate(Environment<'static>);

impl PromptTemplate {
    /// Parses the template.
    pub fn parse(source: &str) -> Result<Self, PromptError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_keep_trailing_newline(true);
        permitted::add_filters(&mut environment);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|e| PromptError::PromptTemplate(format!("cannot be parsed: {e}")))?;
        permitted::check(source).map_err(PromptError::PromptTemplate)?;
        Ok(Self(environment))
    }

    /// The text of a row's prompt.
    pub fn apply(&self, prompt: &str) -> Result<String, PromptError> {
        let mut text = permitted::Limited::default();
        let mut environment = self.0.clone();
        environment.set_fuel(Some(permitted::fuel(prompt)));
        let given =
            BTreeMap::from([("prompt", Value::from(prompt)), (permitted::Budget::NAME, permitted::Budget::full())]);
        let written = environment.get_template(NAME).and_then(|template| {
            template.render_captured_to(given, &mut text)?;
            Ok(())
        });
        written.map_err(|e| {
            let cause = std::error::Error::source(&e).map(|cause| format!(": {cause}")).unwrap_or_default();
            PromptError::PromptTemplate(format!("{e}{cause} (the only variable is `prompt`)"))
        })?;
        String::from_utf8(text.0).map_err(|e| PromptError::PromptTemplate(e.to_string()))
    }
}

/// A row's prompt as messages: `<image>` places an image; without marks all images come first.
///
/// The images themselves are passed separately, in the order of the parts. A number of marks other than `images` is an
/// error that names both.
pub fn messages_for(prompt: &str, images: usize, system: Option<&str>) -> Result<Vec<Message>, PromptError> {
    let marks = prompt.matches(IMAGE_MARK).count();
    if marks != images && marks != 0 {
        return Err(PromptError::ImageCount(format!(
            "the prompt has {} (`{IMAGE_MARK}`) but the row has {}: write one mark per image, or none",
            counted(marks, "mark", "marks"),
            counted(images, "image", "images")
        )));
    }
    let mut messages = Vec::new();
    if let Some(system) = system {
        messages.push(Message { role: Role::System, content: Content::Text(system.to_owned()) });
    }
    let content =
        if images == 0 { Content::Text(prompt.to_owned()) } else { Content::Parts(parts(prompt, images, marks)) };
    messages.push(Message { role: Role::User, content });
    Ok(messages)
}

fn parts(prompt: &str, images: usize, marks: usize) -> Vec<Part> {
    let image = |index: usize| Part::of_image(format!("#{index}"));
    let text = |text: &str| (!text.is_empty()).then(|| Part::Text { text: text.to_owned() });
    if marks == 0 {
        return (0..images).map(image).chain(text(prompt)).collect();
    }
    let mut parts = Vec::new();
    for (index, piece) in prompt.split(IMAGE_MARK).enumerate() {
        if index > 0 {
            parts.push(image(index - 1));
        }
        parts.extend(text(piece));
    }
    parts
}
