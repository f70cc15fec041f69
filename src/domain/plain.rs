//! Values of the API as people read them: without JSON.

use serde_json::Value;

/// A value in one line. Fields stand by their paths, the `type` of a whole part of the settings before them.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(within).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let own = fields.get("type").and_then(Value::as_str);
            let others = fields.iter().filter(|(name, _)| own.is_none() || *name != "type");
            let others = others.map(|(name, value)| field(name, value));
            own.map(ToOwned::to_owned).into_iter().chain(others).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// A field, or all of those within it, by their dotted paths.
fn field(path: &str, value: &Value) -> String {
    let path = path.trim_start_matches('/').replace('/', ".");
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let inner = fields.iter().map(|(name, value)| field(&format!("{path}.{name}"), value));
            inner.collect::<Vec<_>>().join(" ")
        }
        value => format!("{path}={}", within(value)),
    }
}

/// A value that is a part of another.
fn within(value: &Value) -> String {
    match value {
        Value::Array(_) | Value::Object(_) => format!("({})", plain(value)),
        other => plain(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::plain;

    #[test]
    fn values_are_told_without_json() {
        for (value, expected) in [
            (json!("a b"), "a b"),
            (json!(0.5), "0.5"),
            (Value::Null, "null"),
            (json!(["a", ["b", 1]]), "a, (b, 1)"),
            (json!({"/method/beta": 0.1, "/method/type": "grpo"}), "method.beta=0.1 method.type=grpo"),
            (json!({"best": {"of": [1, "x"]}}), "best.of=(1, x)"),
            (json!({"type": "vgpo", "alpha": 0.2, "levels": [1, 2]}), "vgpo alpha=0.2 levels=(1, 2)"),
            (json!([{"name": "a", "value": {}}]), "(name=a value=())"),
        ] {
            assert_eq!(plain(&value), expected);
        }
    }
}
