//! The character that no text of a database may hold.

use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::brief::cut;
use super::field_error::{MOST_ERRORS, POINTER};

/// JSON pointers of the first texts and names that hold a NUL character (U+0000), which PostgreSQL does not store. At
/// most as many as an answer names, and each of bounded length: both are the sender's choice otherwise.
pub fn nul_pointers<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<String>, D::Error> {
    let mut search = Search::default();
    Look(&mut search).deserialize(json)?;
    Ok(search.found)
}

#[derive(Default)]
struct Search {
    path: Vec<Step>,
    found: Vec<String>,
}

enum Step {
    Name(String),
    Entry(usize),
}

impl Search {
    fn is_over(&self) -> bool {
        self.found.len() >= MOST_ERRORS
    }

    fn note(&mut self) {
        let mut pointer = String::new();
        for step in &self.path {
            match step {
                Step::Name(name) => pointer.extend(["/", name]),
                Step::Entry(index) => {
                    let _ = write!(pointer, "/{index}");
                }
            }
        }
        self.found.push(cut(&pointer, POINTER));
    }

    fn text(&mut self, text: &str) {
        if text.contains('\0') && !self.is_over() {
            self.note();
        }
    }
}

/// A look at one value.
struct Look<'a>(&'a mut Search);

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.0.is_over() {
            return json.deserialize_ignored_any(IgnoredAny).map(|_| ());
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let search = self.0;
        search.path.push(Step::Entry(0));
        for index in 0.. {
            if let Some(step) = search.path.last_mut() {
                *step = Step::Entry(index);
            }
            if entries.next_element_seed(Look(search))?.is_none() {
                break;
            }
        }
        search.path.pop();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let search = self.0;
        while let Some(name) = members.next_key::<String>()? {
            let plain = cut(&name, POINTER).replace('\0', "\u{fffd}").replace('~', "~0").replace('/', "~1");
            search.path.push(Step::Name(plain));
            search.text(&name);
            members.next_value_seed(Look(search))?;
            search.path.pop();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::nul_pointers;
    use crate::domain::field_error::{MOST_ERRORS, POINTER};

    fn found(value: &Value) -> Vec<String> {
        nul_pointers(value).unwrap()
    }

    #[test]
    fn every_place_is_named() {
        let value = json!({"name": "a\0b", "tags": {"x/y": ["\0", "fine"], "k\0": 1}, "ok": null});
        assert_eq!(found(&value), ["/name", "/tags/x~1y/0", "/tags/k\u{fffd}"]);
        assert!(found(&json!({"a": [1, "b", 2.5, true, -1]})).is_empty());
        let text = value.to_string();
        assert_eq!(nul_pointers(&mut serde_json::Deserializer::from_str(&text)).unwrap(), found(&value));
    }

    #[test]
    fn what_is_named_does_not_grow_with_what_was_sent() {
        let value = json!({"x".repeat(10_000): vec!["\0"; 10_000]});
        let found = found(&value);
        assert_eq!(found.len(), MOST_ERRORS);
        assert!(found.iter().all(|pointer| pointer.chars().count() <= POINTER + 1), "{found:?}");
    }
}
