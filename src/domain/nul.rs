//! The character that no text of a database may hold.

use serde_json::Value;

/// JSON pointers of every text and name in `value` that holds a NUL character (U+0000), which PostgreSQL does not store.
pub fn nul_pointers(value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(value, &mut String::new(), &mut found);
    found
}

fn walk(value: &Value, pointer: &mut String, found: &mut Vec<String>) {
    let here = pointer.len();
    let mut below = |name: &str, value: &Value, found: &mut Vec<String>| {
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        if name.contains('\0') {
            found.push(pointer.replace('\0', "\u{fffd}"));
        }
        walk(value, pointer, found);
        pointer.truncate(here);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| below(name, value, found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| below(&at.to_string(), value, found)),
        Value::String(text) if text.contains('\0') => found.push(pointer.clone()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::nul_pointers;

    #[test]
    fn every_place_is_named() {
        let value = json!({"name": "a\0b", "tags": {"x/y": ["\0", "fine"], "k\0": 1}, "ok": null});
        assert_eq!(nul_pointers(&value), ["/name", "/tags/x~1y/0", "/tags/k\u{fffd}"]);
        assert!(nul_pointers(&json!({"a": [1, "b"]})).is_empty());
    }
}
