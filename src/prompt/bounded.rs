//! Limits on numeric arguments of chat templates, such as widths and counts. Templates are untrusted: a single number
//! must not exhaust the memory.

use minijinja::value::{Kwargs, Rest, StringInput};
use minijinja::{Environment, Error, ErrorKind, State, Value, filters};
use minijinja_contrib::pycompat;

/// Larger widths and counts are rejected; they would not fit into any prompt.
const MOST: usize = 100_000;

/// Adds limits to the filters that take such numbers.
pub(super) fn add(environment: &mut Environment<'_>) {
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
    filters::batch(state, value, count, fill)
}

fn slice(state: &State, value: Value, count: usize, fill: Option<Value>) -> Result<Value, Error> {
    within(count)?;
    filters::slice(state, value, count, fill)
}

fn indent(
    value: StringInput<'_>,
    width: Option<usize>,
    first: Option<bool>,
    blank: Option<bool>,
    options: Kwargs,
) -> Result<Value, Error> {
    let named = if options.has("width") { options.peek::<Option<usize>>("width")? } else { None };
    within(width.or(named).unwrap_or_default())?;
    filters::indent(value, width, first, blank, options)
}

fn format(state: &State, text: &Value, values: Rest<Value>) -> Result<Value, Error> {
    modest(text, &values)?;
    filters::format(state, text, values)
}

/// A Python method with the same limit.
pub(super) fn method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if name == "format" {
        modest(value, arguments)?;
    }
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Rejects large widths in a format, and widths taken from its values (`%*d`).
fn modest(text: &Value, values: &[Value]) -> Result<(), Error> {
    let text = text.as_str().unwrap_or_default();
    for digits in text.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()) {
        within(digits.parse().unwrap_or(usize::MAX))?;
    }
    let mut widths = values.iter().filter(|_| text.contains('*')).filter_map(Value::as_usize);
    widths.try_for_each(within)
}
