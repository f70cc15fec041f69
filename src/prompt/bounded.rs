//! Limits on filters and methods of chat templates whose results may be far larger than their input: by a number (a
//! width, a count), or because they multiply texts. Templates are untrusted: the cost of a result is charged before it
//! is made.

use minijinja::value::{Kwargs, Rest, StringInput, from_args};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat;

use super::template_budget::{self, make, make_text};

/// Larger widths and counts are rejected; they would not fit into any prompt.
const MOST: usize = 100_000;
/// Bytes that an empty place of a list counts as.
const PER_PLACE: usize = 32;

/// Adds limits to the filters that could multiply their input.
pub(super) fn add(environment: &mut Environment<'_>) {
    environment.add_filter("replace", replace);
    environment.add_filter("join", join);
    environment.add_filter("batch", batch);
    environment.add_filter("slice", slice);
    environment.add_filter("indent", indent);
    environment.add_filter("format", format);
}

fn within(number: usize) -> Result<(), Error> {
    if number <= MOST {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("{number} is over the limit of {MOST}")))
}

fn batch(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    within(count)?;
    make(state, count * PER_PLACE)?;
    filters::batch(state, value, count, fill)
}

fn slice(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    within(count)?;
    make(state, count * PER_PLACE)?;
    filters::slice(state, value, count, fill)
}

fn replace(state: &State, value: StringInput<'_>, from: StringInput<'_>, to: StringInput<'_>) -> Result<Value, Error> {
    replaces(state, value.as_str(), from.as_str(), to.as_str())?;
    filters::replace(state, value, from, to)
}

/// Charges for a text with one part replaced by another.
fn replaces(state: &State, text: &str, from: &str, to: &str) -> Result<(), Error> {
    let grows = text.matches(from).count().saturating_mul(to.len().saturating_sub(from.len()));
    make_text(state, text.len().saturating_add(grows))
}

fn join(state: &State, values: &Value, between: Option<StringInput<'_>>) -> Result<Value, Error> {
    joins(state, values, between.as_ref().map_or("", StringInput::as_str))?;
    filters::join(state, values, between)
}

/// Charges for the texts of values with another one between them.
fn joins(state: &State, values: &Value, between: &str) -> Result<(), Error> {
    let gaps = values.len().unwrap_or_default().saturating_mul(between.len());
    make_text(state, template_budget::read(state, values)?.saturating_add(gaps))
}

#[allow(clippy::needless_pass_by_value, reason = "the engine hands a filter its options by value")]
fn indent(state: &State, value: StringInput<'_>, options: Rest<Value>) -> Result<Value, Error> {
    type Options = (Option<usize>, Option<bool>, Option<bool>, Kwargs);
    let (width, first, blank, options) = from_args::<Options>(&options)?;
    let named = if options.has("width") { options.peek::<Option<usize>>("width")? } else { None };
    let wide = width.or(named).unwrap_or_default();
    within(wide)?;
    let text = value.as_str();
    make_text(state, (text.matches('\n').count() + 1).saturating_mul(wide).saturating_add(text.len()))?;
    filters::indent(value, width, first, blank, options)
}

fn format(state: &State, text: &Value, values: Rest<Value>) -> Result<Value, Error> {
    modest(state, text, &values)?;
    filters::format(state, text, values)
}

/// A Python method with the same limits.
pub(super) fn method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let text = |at: usize| arguments.get(at).and_then(Value::as_str);
    match (name, value.as_str()) {
        ("format", Some(_)) => modest(state, value, arguments)?,
        ("replace", Some(whole)) => {
            if let (Some(from), Some(to)) = (text(0), text(1)) {
                replaces(state, whole, from, to)?;
            }
        }
        ("join", Some(between)) => {
            if let Some(values) = arguments.first() {
                joins(state, values, between)?;
            }
        }
        _ => {}
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Rejects large widths in a format, and widths taken from its values (`%*d`). Charges for the result: each placeholder
/// may become as wide as the largest value.
fn modest(state: &State, text: &Value, values: &[Value]) -> Result<(), Error> {
    let text = text.as_str().unwrap_or_default();
    let mut bytes = text.len();
    for digits in text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()) {
        let width = digits.parse().unwrap_or(usize::MAX);
        within(width)?;
        bytes = bytes.saturating_add(width);
    }
    let widest = values.iter().filter(|_| text.contains('*')).filter_map(Value::as_usize).max().unwrap_or_default();
    within(widest)?;
    let sizes = values.iter().map(|value| template_budget::read(state, value)).collect::<Result<Vec<_>, _>>()?;
    let largest = sizes.into_iter().max().unwrap_or_default().max(widest);
    make_text(state, text.matches(['%', '{']).count().saturating_mul(largest).saturating_add(bytes))
}
