//! The checkpoint's own chat template, run as Hugging Face runs it.

use std::path::{Path, PathBuf};

use minijinja::machinery::{CodeGenerator, Vm, make_string_output};
use minijinja::{AutoEscape, Environment, Error, Value, context};
use serde::Serialize;

use super::template_checks::{checked, measure};
use super::template_environment::{environment, is_raised, is_unknown, without_generation_tags};
use super::{PromptError, files};
use crate::domain::message::Role;
use crate::domain::template_arguments::TemplateArguments;

/// Maximum number of instructions of a rendering; a conversation of thousands of turns needs a fraction of it.
const FUEL: u64 = 20_000_000;
const NAME: &str = "chat_template";
/// Text of the trial conversations.
const QUESTION: &str = "What is it?";
/// The tag that begins a model's reasoning.
const THOUGHT: &str = "<think>";
/// What this program hands to every template itself.
const RESERVED: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

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
    /// The text that is run: the source, without the tags that only trainers use.
    body: String,
    /// Its file.
    path: PathBuf,
    /// Does it ever begin a response itself?
    opens: bool,
    /// `bos_token`, `eos_token` … of `tokenizer_config.json`.
    special_tokens: Vec<(String, Value)>,
}

impl ChatTemplate {
    /// Finds the template in a model's folder, in its own file or in `tokenizer_config.json`.
    pub(super) fn from_dir(dir: &Path) -> Result<Self, PromptError> {
        let config_path = dir.join("tokenizer_config.json");
        let config = files::read_json_optional(&config_path)?;
        let (path, source) = find_source(dir, config.as_ref())?;
        let mut environment = environment();
        environment.set_fuel(Some(FUEL));
        let unreadable = |e: &Error| files::config_error(&path, format!("the chat template cannot be parsed: {e:#}"));
        measure(&source).map_err(|error| unreadable(&error))?;
        let mut body = source.clone();
        if let Err(error) = checked(NAME, &source) {
            body = without_generation_tags(&source);
            if body == source || checked(NAME, &body).is_err() {
                return Err(unreadable(&error));
            }
        }
        let special_tokens = special_tokens(config.as_ref());
        let template = Self { environment, source, body, path, special_tokens, opens: false };
        let opens = template.rehearse()?;
        Ok(Self { opens, ..template })
    }

    /// Runs the template on typical conversations, so that unsupported features are detected here and not in a request.
    /// Returns whether it begins a response itself.
    fn rehearse(&self) -> Result<bool, PromptError> {
        let text = |role, text: &str| TemplateMessage { role, content: TemplateContent::Text(text.to_owned()) };
        let (user, system) = (|| text(Role::User, QUESTION), || text(Role::System, QUESTION));
        let parts = vec![TemplatePart::Image, TemplatePart::Text { text: QUESTION.to_owned() }];
        let shown = TemplateMessage { role: Role::User, content: TemplateContent::Parts(parts) };
        let conversations =
            [vec![user()], vec![system(), user()], vec![shown], vec![user(), text(Role::Assistant, QUESTION), user()]];
        let (mut opens, mut first, usual) = (false, None, TemplateArguments::default());
        let mut works = false;
        for messages in &conversations {
            match self.run(messages, true, &usual) {
                Ok(prompt) => {
                    works = true;
                    let without = self.run(messages, false, &usual).unwrap_or_default();
                    opens |= prompt.strip_prefix(without.as_str()).is_some_and(|tail| opened(tail, &[]).is_some());
                }
                Err(error) if is_unknown(&error) => return Err(self.broken(&error)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        match first {
            Some(error) if !works => Err(self.broken(&error)),
            _ => Ok(opens),
        }
    }

    fn broken(&self, error: &Error) -> PromptError {
        files::config_error(&self.path, format!("the chat template cannot be run: {error:#}"))
    }

    /// The template's text.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Runs the template.
    pub(super) fn render(
        &self,
        messages: &[TemplateMessage],
        generation: bool,
        arguments: &TemplateArguments,
    ) -> Result<String, PromptError> {
        self.run(messages, generation, arguments).map_err(|error| {
            if is_unknown(&error) {
                return self.broken(&error);
            }
            let raised = error.detail().filter(|_| is_raised(&error));
            PromptError::ChatTemplate(raised.map_or_else(|| format!("{error:#}"), str::to_owned))
        })
    }

    /// The beginning of the response that the prompt `rendered` of these messages contains, e.g. `<think>`; `specials`
    /// are the model's special tokens, which belong to the turn and not to the response.
    pub(super) fn opened(
        &self,
        messages: &[TemplateMessage],
        rendered: &str,
        specials: &[String],
        arguments: &TemplateArguments,
    ) -> String {
        // What a template opens may depend on its arguments.
        if !self.opens && arguments.is_empty() {
            return String::new();
        }
        let before = self.run(messages, false, arguments).unwrap_or_default();
        let tail = rendered.strip_prefix(before.as_str()).unwrap_or_default();
        opened(tail, specials).unwrap_or_default().to_owned()
    }

    /// Does the template use an argument of this name?
    pub(super) fn takes(&self, name: &str) -> bool {
        let own = RESERVED.contains(&name) || self.special_tokens.iter().any(|(token, _)| token == name);
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        !own && self.body.split(|c: char| !is_word(c)).any(|word| word == name)
    }

    fn run(
        &self,
        messages: &[TemplateMessage],
        generation: bool,
        arguments: &TemplateArguments,
    ) -> Result<String, Error> {
        let none = Value::from(());
        let arguments = arguments.iter().map(|(name, value)| (name.to_owned(), Value::from_serialize(value)));
        let others: Value = arguments.chain(self.special_tokens.iter().cloned()).collect();
        let context = context! {
            messages, tools => none, documents => none, add_generation_prompt => generation, ..others
        };
        // Compiled each time, which takes a fraction of a millisecond: what is compiled borrows the text.
        let mut generator = CodeGenerator::new(NAME, &self.body);
        generator.compile_stmt(&checked(NAME, &self.body)?);
        let (instructions, blocks) = generator.finish();
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        Vm::new(&self.environment).eval(&instructions, context, &blocks, &mut output, AutoEscape::None)?;
        Ok(text)
    }
}

/// The end of a turn's head from its first tag on: `<think>` and what follows it.
fn opened<'a>(tail: &'a str, specials: &[String]) -> Option<&'a str> {
    let is_tag = |at: usize| {
        let name = tail[at + 1..].split('>').next().filter(|name| tail.len() > at + 1 + name.len())?;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let whole = &tail[at..at + name.len() + 2];
        (plain && (whole == THOUGHT || !specials.iter().any(|special| special == whole))).then_some(at)
    };
    tail.match_indices('<').find_map(|(at, _)| is_tag(at)).map(|at| &tail[at..])
}

/// Files that may contain the template, in the order of transformers' processors.
const FILES: [&str; 3] = ["processor_config.json", "chat_template.json", PLAIN_FILE];
const PLAIN_FILE: &str = "chat_template.jinja";

fn find_source(dir: &Path, config: Option<&serde_json::Value>) -> Result<(PathBuf, String), PromptError> {
    let mut templates: Vec<(PathBuf, String)> = Vec::new();
    for file in FILES {
        let path = dir.join(file);
        let source = if file == PLAIN_FILE {
            files::read_optional(&path)?
        } else {
            files::read_json_optional(&path)?.as_ref().and_then(template_field)
        };
        templates.extend(source.map(|source| (path, source)));
    }
    // Tools differ in which of two they use.
    if let Some(pair) = templates.windows(2).find(|pair| pair[0].1.trim() != pair[1].1.trim()) {
        let other = pair[0].0.file_name().unwrap_or_default().to_string_lossy();
        let problem = format!("contains a different chat template than {other}: keep one of them");
        return Err(files::config_error(&pair[1].0, problem));
    }
    if let Some(first) = templates.into_iter().next() {
        return Ok(first);
    }
    let path = dir.join("tokenizer_config.json");
    match config.and_then(template_field) {
        Some(source) => Ok((path, source)),
        None => Err(files::config_error(
            dir,
            "no chat template: expected chat_template.jinja, or `chat_template` in chat_template.json or \
            tokenizer_config.json",
        )),
    }
}

/// `chat_template` is a string, or a list of named templates of which `default` is used.
fn template_field(json: &serde_json::Value) -> Option<String> {
    let field = json.get("chat_template")?;
    if let Some(text) = field.as_str() {
        return Some(text.to_owned());
    }
    let named = field.as_array()?.iter().find(|t| t.get("name").is_some_and(|n| n == "default"))?;
    Some(named.get("template")?.as_str()?.to_owned())
}

/// Tokens by role, written as a string or as `{"content": text}`.
fn special_tokens(config: Option<&serde_json::Value>) -> Vec<(String, Value)> {
    let fields = config.and_then(|c| c.as_object()).into_iter().flatten();
    fields
        .filter(|(key, _)| key.ends_with("_token"))
        .filter_map(|(key, value)| {
            let text = value.as_str().or_else(|| value.get("content")?.as_str())?;
            Some((key.clone(), Value::from(text)))
        })
        .collect()
}
