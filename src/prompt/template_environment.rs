//! The environment of chat templates, with the functions and filters that Hugging Face's tools provide.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use regex::Regex;

use super::{bounded, template_budget, template_json, template_methods};
use crate::clock::local_time;

/// Maximum width of `center`.
const MOST: usize = 100_000;

/// An error that a template raised itself about its messages.
#[derive(Debug, thiserror::Error)]
#[error("raised by the template")]
struct Raised;

/// The environment, without any template.
pub(super) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    template_budget::add(&mut environment);
    bounded::add(&mut environment);
    environment.set_unknown_method_callback(template_methods::method);
    environment.add_filter("tojson", template_json::to_json);
    environment.add_filter("center", center);
    environment.add_filter("truncate", truncate);
    environment.add_filter("filesizeformat", minijinja_contrib::filters::filesizeformat);
    environment.add_filter("striptags", minijinja_contrib::filters::striptags);
    environment.add_filter("wordcount", |text: &str| text.split_whitespace().count());
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("cycler", |items: Rest<Value>| minijinja_contrib::globals::cycler(items.0));
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message).with_source(Raised))
    });
    environment.add_function("strftime_now", strftime_now);
    environment
}

/// Did the template itself reject the messages with `raise_exception`?
pub(super) fn is_raised(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Raised>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Does a template need a function or filter that this environment does not have? (Methods depend on the value.)
pub(super) fn is_unknown(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UnknownFilter | ErrorKind::UnknownFunction | ErrorKind::UnknownTest)
}

/// A template without `{% generation %}` tags, which mark the assistant's part for training masks. Their content stays,
/// in its own scope as in transformers.
pub(super) fn without_generation_tags(source: &str) -> String {
    let Ok(tag) = Regex::new(r"\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}") else { return source.to_owned() };
    tag.replace_all(source, "{%$1 ${2}with $3%}").into_owned()
}

/// The local time, written as Python's `strftime` writes a time without a zone.
fn strftime_now(format: &str) -> Result<String, Error> {
    let adapted = format.replace("%Z", "").replace("%z", "").replace("%f", "%6f");
    let mut text = String::new();
    if write!(text, "{}", local_time().format(&adapted)).is_ok() {
        return Ok(text);
    }
    let shown: String = format.chars().take(80).collect();
    Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now: `{shown}` is not a date format")))
}

/// Centres a text.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands a filter its options by value")]
fn center(state: &State, text: &str, width: Option<usize>, options: Kwargs) -> Result<String, Error> {
    let width = width.or(options.get("width")?).unwrap_or(80);
    options.assert_all_used()?;
    if width > MOST {
        return Err(Error::new(ErrorKind::InvalidOperation, format!("{width} is over the limit of {MOST}")));
    }
    template_budget::make_text(state, width.max(text.len()))?;
    let spare = width.saturating_sub(text.chars().count());
    // Python puts the extra space on the left if the width is odd.
    let left = spare / 2 + (spare & width & 1);
    Ok(format!("{}{text}{}", " ".repeat(left), " ".repeat(spare - left)))
}

/// Truncates a text to a length, at a space unless it may cut words; a text that is only slightly longer is not
/// changed.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands a filter its options by value")]
fn truncate(
    text: &str,
    length: Option<usize>,
    kill_words: Option<bool>,
    end: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let length = length.or(options.get("length")?).unwrap_or(255);
    let kill_words = kill_words.or(options.get("killwords")?).unwrap_or(false);
    let end = end.or(options.get("end")?).unwrap_or_else(|| "...".to_owned());
    let leeway: usize = options.get::<Option<usize>>("leeway")?.unwrap_or(5);
    options.assert_all_used()?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text.to_owned());
    }
    let kept: String = text.chars().take(length.saturating_sub(end.chars().count())).collect();
    let kept = if kill_words { kept.as_str() } else { kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words) };
    Ok(format!("{kept}{end}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_go_and_their_blanks_stay_as_asked() {
        let source = "{%- generation -%}a{% endgeneration %}{%+generation%}{%endgeneration-%}{{ generation }}";
        let want = "{%- with -%}a{% endwith %}{%+ with %}{% endwith -%}{{ generation }}";
        assert_eq!(without_generation_tags(source), want);
    }

    #[test]
    fn dates_are_written_as_python_does() {
        let year = strftime_now("%Y%Z").unwrap();
        assert!(year.len() == 4 && year.parse::<u32>().unwrap() > 2000, "{year}");
        assert!(strftime_now("%Q").unwrap_err().to_string().contains("%Q"));
    }

    #[test]
    fn texts_are_cut_as_jinja_does() {
        let options = |pairs: &[(&str, Value)]| pairs.iter().map(|(k, v)| (*k, v.clone())).collect::<Kwargs>();
        let cut = |length, kill| truncate("foo bar baz qux", Some(length), kill, None, options(&[])).unwrap();
        assert_eq!([cut(9, None), cut(9, Some(true)), cut(11, None)], ["foo...", "foo ba...", "foo bar baz qux"]);
        let tight = truncate("foo bar baz qux", Some(11), None, None, options(&[("leeway", Value::from(0))]));
        assert_eq!(tight.unwrap(), "foo bar...");
    }

    #[test]
    fn centred_texts_are_those_of_python() {
        let none = || Kwargs::from_iter(Vec::<(String, Value)>::new());
        for (text, width, want) in [("ab", 5, "  ab "), ("abc", 6, " abc  "), ("a", 4, " a  "), ("abcd", 2, "abcd")] {
            assert_eq!(center(&Environment::new().empty_state(), text, Some(width), none()).unwrap(), want);
        }
    }
}
