//! The checkpoint's own chat template, run as Hugging Face runs it.

use std::path::{Path, PathBuf};

use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

use super::{PromptError, bounded, files};
use crate::domain::message::Role;

/// Instructions that one rendering may take; a conversation of thousands of turns needs a fraction of it.
const FUEL: u64 = 20_000_000;
const NAME: &str = "chat_template";

/// One message as templates see it.
#[derive(Debug, Serialize)]
pub(super) struct TemplateMessage {
    pub(super) role: Role,
    pub(super) content: TemplateContent,
}

/// A message's content as templates see it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum TemplateContent {
    Text(String),
    Parts(Vec<TemplatePart>),
}

/// One part as templates see it.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum TemplatePart {
    Text { text: String },
    Image,
}

/// A parsed chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    /// `bos_token`, `eos_token` … of `tokenizer_config.json`.
    special_tokens: Value,
}

impl ChatTemplate {
    /// Finds the template in a model's folder: `chat_template.jinja`, else `chat_template.json`, else `tokenizer_config.json`.
    pub(super) fn from_dir(dir: &Path) -> Result<Self, PromptError> {
        let config_path = dir.join("tokenizer_config.json");
        let config = files::read_json_optional(&config_path)?;
        let (path, source) = find_source(dir, config.as_ref())?;
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        bounded::add(&mut environment);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment
            .add_template_owned(NAME, source.clone())
            .map_err(|e| files::config_error(&path, format!("the chat template does not parse: {e:#}")))?;
        Ok(Self { environment, source, special_tokens: special_tokens(config.as_ref()) })
    }

    /// The template's text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Runs the template.
    pub(super) fn render(&self, messages: &[TemplateMessage], generation: bool) -> Result<String, PromptError> {
        let fail = |e: Error| PromptError::ChatTemplate(format!("{e:#}"));
        let none = Value::from(());
        let context = context! {
            messages, tools => none, documents => none, add_generation_prompt => generation, ..self.special_tokens.clone()
        };
        self.environment.get_template(NAME).map_err(fail)?.render(context).map_err(fail)
    }
}

fn find_source(dir: &Path, config: Option<&serde_json::Value>) -> Result<(PathBuf, String), PromptError> {
    let path = dir.join("chat_template.jinja");
    if let Some(source) = files::read_optional(&path)? {
        return Ok((path, source));
    }
    let path = dir.join("chat_template.json");
    if let Some(source) = files::read_json_optional(&path)?.as_ref().and_then(template_field) {
        return Ok((path, source));
    }
    let path = dir.join("tokenizer_config.json");
    match config.and_then(template_field) {
        Some(source) => Ok((path, source)),
        None => Err(files::config_error(
            dir,
            "no chat template: expected chat_template.jinja, or `chat_template` in chat_template.json or tokenizer_config.json",
        )),
    }
}

/// `chat_template` is a text, or a list of named texts of which `default` counts.
fn template_field(json: &serde_json::Value) -> Option<String> {
    let field = json.get("chat_template")?;
    if let Some(text) = field.as_str() {
        return Some(text.to_owned());
    }
    let named = field.as_array()?.iter().find(|t| t.get("name").is_some_and(|n| n == "default"))?;
    Some(named.get("template")?.as_str()?.to_owned())
}

/// Tokens by role, written as a text or as `{"content": text}`.
fn special_tokens(config: Option<&serde_json::Value>) -> Value {
    let fields = config.and_then(|c| c.as_object()).into_iter().flatten();
    fields
        .filter(|(key, _)| key.ends_with("_token"))
        .filter_map(|(key, value)| {
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            Some((key.clone(), Value::from(text)))
        })
        .collect()
}

/// JSON as Python's `json.dumps(ensure_ascii=False)` writes it; the engine's own filter escapes for HTML.
// The engine hands a filter its options by value.
#[allow(clippy::needless_pass_by_value)]
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    options.assert_all_used()?;
    let fail = |e: serde_json::Error| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut out = Vec::new();
    match indent {
        Some(width) => {
            let indent = " ".repeat(width.min(16));
            let formatter = PrettyFormatter::with_indent(indent.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut out, formatter)).map_err(fail)?;
        }
        None => value.serialize(&mut Serializer::with_formatter(&mut out, PythonFormatter)).map_err(fail)?,
    }
    String::from_utf8(out).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

/// `", "` between items and `": "` after keys.
struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}
