//! Lists and single things of a server: one style for all commands.

use std::process::ExitCode;

use serde_json::Value;

use super::client::{Client, ClientFlags};
use super::{say, table};

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

/// Prints one thing: a field a line, as JSON.
pub async fn show(path: &str, flags: &ClientFlags) -> Outcome {
    let answer = Client::new(&flags.server).get(path).await?;
    Ok(if flags.json { say(&answer) } else { say(serde_json::to_string_pretty(&answer)?) })
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
        Value::Object(fields) => {
            let setting = |(name, value): (&String, &Value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
                format!("{}={value}", name.trim_start_matches('/').replace('/', "."))
            };
            fields.iter().map(setting).collect::<Vec<_>>().join(" ")
        }
        _ => text(entry, field),
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
            "last_accuracy": 0.7656, "created_at": "2026-11-29T16:45:12.123Z", "step": 4, "reason": null
        });
        for (field, expected) in [
            ("states", "4 succeeded, 1 failed"),
            ("settings", "method.beta=0.1 method.type=grpo"),
            ("last_accuracy", "76.6%"),
            ("created_at", "2026-11-29 16:45:12"),
            ("step", "4"),
            ("reason", ""),
        ] {
            assert_eq!(cell(&entry, field), expected);
        }
    }
}
