//! Methods of Python's strings and lists that chat templates call and the engine does not provide.

use minijinja::value::{ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

use super::{bounded, template_budget};

/// Methods that only look up an entry of a mapping, or list its entries.
const CHEAP: [&str; 4] = ["get", "items", "keys", "values"];
/// Maximum width that a method pads to.
const WIDEST: usize = 100_000;

/// Runs the method `name` of a value.
pub(super) fn method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    if !CHEAP.contains(&name) {
        template_budget::read(state, value)?;
    }
    let own = match (value.as_str(), value.kind()) {
        (Some(text), _) => text_method(text, name, arguments),
        (None, ValueKind::Seq) if name == "index" => Some(list_index(value, arguments)),
        _ => None,
    };
    own.unwrap_or_else(|| bounded::method(state, value, name, arguments))
}

fn fault(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}

fn text_method(text: &str, name: &str, arguments: &[Value]) -> Option<Result<Value, Error>> {
    Some(match name {
        "rsplit" => from_args::<(Option<&str>, Option<i64>)>(arguments).map(|(by, most)| split_behind(text, by, most)),
        "partition" => part(arguments, |by| text.split_once(by)).map(|pieces| parts(pieces, [text, "", ""])),
        "rpartition" => part(arguments, |by| text.rsplit_once(by)).map(|pieces| parts(pieces, ["", "", text])),
        "removeprefix" => one(arguments).map(|start| Value::from(text.strip_prefix(start).unwrap_or(text))),
        "removesuffix" => one(arguments).map(|end| Value::from(text.strip_suffix(end).unwrap_or(text))),
        "ljust" => padded(arguments, |width, fill| pad(text, width, fill, |_| 0)),
        "rjust" => padded(arguments, |width, fill| pad(text, width, fill, |spare| spare)),
        // The extra space is on the left if the width is odd.
        "center" => padded(arguments, |width, fill| pad(text, width, fill, |spare| spare / 2 + (spare & width & 1))),
        "zfill" => padded(arguments, |width, _| {
            let (sign, digits) = text.split_at(usize::from(text.starts_with(['+', '-'])));
            format!("{sign}{}", pad(digits, width.saturating_sub(sign.len()), '0', |spare| spare))
        }),
        "isdigit" | "isdecimal" | "isnumeric" => {
            none(arguments).map(|()| Value::from(!text.is_empty() && text.chars().all(char::is_numeric)))
        }
        "casefold" => none(arguments).map(|()| Value::from(text.to_lowercase())),
        "swapcase" => none(arguments).map(|()| Value::from(text.chars().map(swapped).collect::<String>())),
        "index" => one(arguments).and_then(|part| place(text, text.find(part), part)),
        "rindex" => one(arguments).and_then(|part| place(text, text.rfind(part), part)),
        _ => return None,
    })
}

fn none(arguments: &[Value]) -> Result<(), Error> {
    from_args::<()>(arguments)
}

fn one(arguments: &[Value]) -> Result<&str, Error> {
    from_args::<(&str,)>(arguments).map(|(text,)| text)
}

/// Both sides of a separator, and the separator.
fn part<'a>(
    arguments: &'a [Value],
    cut: impl FnOnce(&'a str) -> Option<(&'a str, &'a str)>,
) -> Result<Option<[&'a str; 3]>, Error> {
    let by = one(arguments)?;
    if by.is_empty() {
        return Err(fault("empty separator"));
    }
    Ok(cut(by).map(|(before, after)| [before, by, after]))
}

fn parts(pieces: Option<[&str; 3]>, otherwise: [&str; 3]) -> Value {
    Value::from(pieces.unwrap_or(otherwise).map(Value::from).to_vec())
}

/// `rsplit`: at most `most` splits, from the end on; without a separator at white space.
fn split_behind(text: &str, by: Option<&str>, most: Option<i64>) -> Value {
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX);
    let mut pieces: Vec<Value> = Vec::new();
    let mut rest = if by.is_none() { text.trim_end() } else { text };
    while pieces.len() < most {
        let cut = match by {
            Some(by) if !by.is_empty() => rest.rsplit_once(by),
            Some(_) => None,
            None => rest.rsplit_once(char::is_whitespace),
        };
        let Some((before, piece)) = cut else { break };
        pieces.push(Value::from(piece));
        rest = if by.is_none() { before.trim_end() } else { before };
    }
    // Blanks at the beginning separate nothing.
    if by.is_some() || !rest.is_empty() {
        pieces.push(Value::from(rest));
    }
    pieces.reverse();
    Value::from(pieces)
}

fn padded(arguments: &[Value], pad: impl FnOnce(usize, char) -> String) -> Result<Value, Error> {
    let (width, fill) = from_args::<(i64, Option<&str>)>(arguments)?;
    let width = usize::try_from(width).unwrap_or(0);
    if width > WIDEST {
        return Err(fault(format!("{width} is over the limit of {WIDEST}")));
    }
    Ok(Value::from(pad(width, fill.and_then(|fill| fill.chars().next()).unwrap_or(' '))))
}

/// Pads a text; `left` gives the part of the padding on its left.
fn pad(text: &str, width: usize, fill: char, left: impl FnOnce(usize) -> usize) -> String {
    let spare = width.saturating_sub(text.chars().count());
    let left = left(spare);
    let run = |count: usize| std::iter::repeat_n(fill, count);
    run(left).chain(text.chars()).chain(run(spare - left)).collect()
}

fn swapped(c: char) -> String {
    if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
}

/// A position in characters.
fn place(text: &str, at: Option<usize>, part: &str) -> Result<Value, Error> {
    let shown = || part.chars().take(80).collect::<String>();
    at.map(|at| Value::from(text[..at].chars().count()))
        .ok_or_else(|| fault(format!("`{}` is not in the text", shown())))
}

fn list_index(value: &Value, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted,) = from_args::<(Value,)>(arguments)?;
    value
        .try_iter()?
        .position(|item| item == wanted)
        .map(Value::from)
        .ok_or_else(|| fault("the value is not in the list"))
}

#[cfg(test)]
mod tests {
    use super::super::template_environment::environment;

    /// Expected values were computed by Python 3.11.
    #[test]
    fn methods_are_those_of_python() {
        for (call, want) in [
            ("'a</t>b</t>c'.rsplit('</t>', 1)", r#"["a</t>b", "c"]"#),
            ("'a,b,c'.rsplit(',')", r#"["a", "b", "c"]"#),
            ("' a  b c '.rsplit(none, 1)", r#"[" a  b", "c"]"#),
            ("' a  b '.rsplit()", r#"["a", "b"]"#),
            ("''.rsplit()", "[]"),
            ("'a=b=c'.partition('=')", r#"["a", "=", "b=c"]"#),
            ("'a=b=c'.rpartition('=')", r#"["a=b", "=", "c"]"#),
            ("'abc'.partition('x')", r#"["abc", "", ""]"#),
            ("'abc'.rpartition('x')", r#"["", "", "abc"]"#),
            ("'<think>x'.removeprefix('<think>')", r#""x""#),
            ("'x.'.removesuffix('.')", r#""x""#),
            ("'ab'.ljust(4, '.')", r#""ab..""#),
            ("'ab'.rjust(4)", r#""  ab""#),
            ("'ab'.center(5)", r#""  ab ""#),
            ("'-7'.zfill(4)", r#""-007""#),
            ("'12'.isdigit()", "true"),
            ("'1a'.isdigit()", "false"),
            ("'aB'.swapcase()", r#""Ab""#),
            ("'éa'.index('a')", "1"),
            ("['x', 'y'].index('y')", "1"),
            ("'Abc'.startswith('A')", "true"),
        ] {
            let source = format!("{{{{ {call} | tojson }}}}");
            assert_eq!(environment().render_str(&source, ()).unwrap(), want, "{call}");
        }
        for call in ["'a'.ljust(999999999)", "'a'.index('b')", "'a'.partition('')", "[1].index(2)", "'a'.unheard_of()"]
        {
            assert!(environment().render_str(&format!("{{{{ {call} }}}}"), ()).is_err(), "{call}");
        }
    }
}
