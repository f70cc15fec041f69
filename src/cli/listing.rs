//! Lists and single things of a server: one style for all commands.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, ClientFlags};
use super::{say, table};
use crate::domain::counted::counted;
use crate::domain::plain::plain;

/// Characters of a field that is shown in one line.
const LINE: usize = 120;

/// The result of a command.
pub type Outcome = Result<ExitCode, Box<dyn std::error::Error + Send + Sync>>;

/// A column: its head, and the field of an entry.
pub type Column = (&'static str, &'static str);

/// Prints the list at `path` as a table, or as JSON.
pub async fn list(path: &str, columns: &[Column], flags: &ClientFlags) -> Outcome {
    let answer = Client::new(&flags.server).get(path).await?;
    if flags.json {
        return Ok(say(&answer));
    }
    Ok(entries(&answer["data"], columns))
}

/// Prints entries as a table.
pub fn entries(data: &Value, columns: &[Column]) -> ExitCode {
    let rows = data.as_array().into_iter().flatten();
    let rows = rows.map(|entry| columns.iter().map(|(_, field)| cell(entry, field)).collect());
    table(&columns.iter().map(|(head, _)| *head).collect::<Vec<_>>(), rows.collect())
}

/// Prints one thing of a server.
pub async fn show(path: &str, flags: &ClientFlags) -> Outcome {
    Ok(thing(&Client::new(&flags.server).get(path).await?, flags.json))
}

/// Prints one thing: a field a line, or as JSON.
pub fn thing(thing: &Value, json: bool) -> ExitCode {
    if json {
        return say(thing);
    }
    let fields: Vec<(&String, String)> = thing
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| Some((name, brief_cell(thing, name)?)))
        .collect();
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, value) in fields {
        say(format!("{name:width$}  {value}"));
    }
    ExitCode::SUCCESS
}

/// A field in one line, or what it holds where a line would be too long; nothing for an empty field.
fn brief_cell(thing: &Value, name: &str) -> Option<String> {
    let line = cell(thing, name);
    let entries = match &thing[name] {
        Value::Array(entries) => entries.len(),
        Value::Object(fields) => fields.len(),
        _ => return (!line.is_empty()).then_some(line),
    };
    match entries {
        0 => None,
        _ if line.chars().count() <= LINE => Some(line),
        _ => Some(format!("({}; --json shows them)", counted(entries, "entry", "entries"))),
    }
}

/// The entry of a list with this id; `kind` names what is listed.
pub fn find<'e>(entries: &'e [Value], id: &str, kind: &str) -> Result<&'e Value, String> {
    entries.iter().find(|entry| entry["id"] == id).ok_or_else(|| format!("there is no {kind} `{id}`"))
}

/// A field as people read it: shares in per cent, times to the second, counts and settings without JSON.
pub fn cell(entry: &Value, field: &str) -> String {
    match &entry[field] {
        Value::Number(share) if field.ends_with("accuracy") => {
            share.as_f64().map(|share| format!("{:.1}%", 100.0 * share)).unwrap_or_default()
        }
        Value::String(time) if field.ends_with("_at") => {
            time.get(..19).map_or_else(|| time.clone(), |time| time.replace('T', " "))
        }
        Value::Object(fields) if field == "states" => {
            fields.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ")
        }
        Value::Null => String::new(),
        value => plain(value),
    }
}

/// A field as text; nothing for null.
pub fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::cell;

    #[test]
    fn cells_hold_no_json() {
        let entry = json!({
            "states": {"succeeded": 4, "failed": 1}, "settings": {"/method/beta": 0.1, "/method/type": "grpo"},
            "card": {"best": {"of": [1, "x"]}}, "tags": ["a", "b"],
            "last_accuracy": 0.7656, "created_at": "2026-11-29T16:45:12.123Z", "step": 4, "reason": null
        });
        for (field, expected) in [
            ("states", "4 succeeded, 1 failed"),
            ("settings", "method.beta=0.1 method.type=grpo"),
            ("card", "best.of=(1, x)"),
            ("tags", "a, b"),
            ("last_accuracy", "76.6%"),
            ("created_at", "2026-11-29 16:45:12"),
            ("step", "4"),
            ("reason", ""),
        ] {
            assert_eq!(cell(&entry, field), expected);
        }
    }
}
