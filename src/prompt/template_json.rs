//! The filter `tojson` of chat templates: Python's `json.dumps` with its options. The engine's own filter escapes for
//! HTML.

use std::fmt::Write as _;

use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// Maximum nesting of values.
const DEEPEST: usize = 64;
/// Maximum indentation.
const WIDEST: usize = 64;

/// The options of `json.dumps` that Hugging Face's filter passes on, in their order.
const OPTIONS: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

/// How JSON is written.
struct Style {
    ascii: bool,
    indent: Option<String>,
    between: String,
    after_key: String,
    sorted: bool,
}

/// JSON of a value; options by position or by name.
#[allow(clippy::needless_pass_by_value, reason = "the engine hands a filter its options by value")]
pub(super) fn to_json(value: Value, options: Rest<Value>) -> Result<String, Error> {
    let (placed, named) = match options.split_last() {
        Some((last, before)) if last.is_kwargs() => (before, Kwargs::try_from(last.clone())?),
        _ => (&options[..], Kwargs::from_iter(Vec::<(String, Value)>::new())),
    };
    if placed.len() > OPTIONS.len() {
        return Err(fault("too many options"));
    }
    let option = |at: usize| -> Result<Option<Value>, Error> {
        let named: Option<Value> = named.get(OPTIONS[at])?;
        Ok(placed.get(at).cloned().or(named).filter(|value| !value.is_none() && !value.is_undefined()))
    };
    let ascii = option(0)?.is_some_and(|value| value.is_true());
    let indent = option(1)?.map(|value| indentation(&value)).transpose()?;
    let separators = option(2)?.map(|value| pair(&value)).transpose()?;
    let sorted = option(3)?.is_some_and(|value| value.is_true());
    named.assert_all_used()?;
    let comma = if indent.is_some() { "," } else { ", " };
    let (between, after_key) = separators.unwrap_or_else(|| (comma.to_owned(), ": ".to_owned()));
    let mut out = String::new();
    Style { ascii, indent, between, after_key, sorted }.write(&value, 0, &mut out)?;
    Ok(out)
}

fn fault(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("tojson: {}", problem.into()))
}

fn indentation(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        return Ok(text.chars().take(WIDEST).collect());
    }
    match value.as_i64() {
        Some(width) if width <= WIDEST as i64 => Ok(" ".repeat(usize::try_from(width).unwrap_or(0))),
        _ => Err(fault(format!("`indent` must be a string or at most {WIDEST}"))),
    }
}

fn pair(value: &Value) -> Result<(String, String), Error> {
    let texts: Vec<Value> = value.try_iter()?.take(3).collect();
    match &texts[..] {
        [between, after] => match (between.as_str(), after.as_str()) {
            (Some(between), Some(after)) => Ok((between.to_owned(), after.to_owned())),
            _ => Err(fault("`separators` must be two strings")),
        },
        _ => Err(fault("`separators` must be two strings")),
    }
}

impl Style {
    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        if depth > DEEPEST {
            return Err(fault(format!("values are nested more than {DEEPEST} deep")));
        }
        match value.kind() {
            ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number(value)),
            ValueKind::String => self.text(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.enclosed(out, '[', ']', depth, &items, |item, out| self.write(item, depth + 1, out))?;
            }
            ValueKind::Map => {
                let mut entries = Vec::new();
                for key in value.try_iter()? {
                    entries.push((key_text(&key)?, value.get_item(&key)?));
                }
                if self.sorted {
                    entries.sort_by(|one, two| one.0.cmp(&two.0));
                }
                self.enclosed(out, '{', '}', depth, &entries, |(key, value), out| {
                    self.text(key, out);
                    out.push_str(&self.after_key);
                    self.write(value, depth + 1, out)
                })?;
            }
            other => return Err(fault(format!("a value of type {other} cannot be written as JSON"))),
        }
        Ok(())
    }

    fn enclosed<T>(
        &self,
        out: &mut String,
        open: char,
        close: char,
        depth: usize,
        items: &[T],
        mut write: impl FnMut(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                out.push_str(&self.between);
            }
            self.line(depth + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            self.line(depth, out);
        }
        out.push(close);
        Ok(())
    }

    fn line(&self, depth: usize, out: &mut String) {
        let Some(indent) = &self.indent else { return };
        out.push('\n');
        for _ in 0..depth {
            out.push_str(indent);
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for c in text.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => escape(c, out),
                c => out.push(c),
            }
        }
        out.push('"');
    }
}

/// `\uXXXX`, twice for characters beyond 16 bits.
fn escape(c: char, out: &mut String) {
    let mut units = [0; 2];
    for unit in c.encode_utf16(&mut units) {
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// Keys of JSON are strings; Python converts other simple ones to strings.
fn key_text(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.as_str().unwrap_or_default().to_owned()),
        ValueKind::Number => Ok(number(key)),
        ValueKind::Bool => Ok(if key.is_true() { "true" } else { "false" }.to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        other => Err(fault(format!("a key of type {other} cannot be written as JSON"))),
    }
}

/// A number as Python writes it.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN"
        } else if float > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .to_owned();
    }
    let scientific = format!("{float:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{float}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::super::template_environment::environment;

    /// Expected values were written by Python 3.11.
    #[test]
    fn json_is_that_of_python() {
        let data = r#"{"b": [1, 2.0, 1e16, 1e-5, 0.5], "a": {}, "c": "é\n\"", "d": [true, none], 1: []}"#;
        for (options, want) in [
            ("", r#"{"b": [1, 2.0, 1e+16, 1e-05, 0.5], "a": {}, "c": "é\n\"", "d": [true, null], "1": []}"#),
            (
                "(ensure_ascii=true, separators=(',', ':'), sort_keys=true)",
                r#"{"1":[],"a":{},"b":[1,2.0,1e+16,1e-05,0.5],"c":"\u00e9\n\"","d":[true,null]}"#,
            ),
        ] {
            let source = format!("{{{{ {data} | tojson{options} }}}}");
            assert_eq!(environment().render_str(&source, ()).unwrap(), want);
        }
        let indented = environment().render_str("{{ {'a': [1, {}], 'b': '🎉'} | tojson(true, 2) }}", ()).unwrap();
        assert_eq!(indented, "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": \"\\ud83c\\udf89\"\n}");
        for (source, word) in [
            ("{{ nothing | tojson }}", "undefined"),
            ("{{ 1 | tojson(colour=1) }}", "colour"),
            ("{{ 1 | tojson(indent=1000) }}", "indent"),
            ("{{ 1 | tojson(separators=',') }}", "separators"),
        ] {
            let error = format!("{:#}", environment().render_str(source, ()).unwrap_err());
            assert!(error.contains(word), "{source}: {error}");
        }
    }
}
