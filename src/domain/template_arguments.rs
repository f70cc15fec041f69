//! Arguments of a model's chat template, e.g. `enable_thinking`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Most arguments of a prompt.
const MOST: usize = 16;
/// Longest name or text, in bytes.
const LONGEST: usize = 64;
/// Whether the model is to reason before it answers.
const THINKING: &str = "enable_thinking";

/// The value of an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum TemplateArgument {
    /// true or false.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// A short text of letters, digits and `-_. `: it cannot hold special tokens.
    Text(String),
}

/// Arguments by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct TemplateArguments(BTreeMap<String, TemplateArgument>);

impl TemplateArguments {
    /// Whether the model is to reason before it answers; none: as the template does by default.
    pub fn thinking(enable: Option<bool>) -> Self {
        Self(enable.map(|enable| (THINKING.to_owned(), TemplateArgument::Flag(enable))).into_iter().collect())
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TemplateArgument)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// These, and those of `usual` that they do not name.
    #[must_use]
    pub fn over(&self, usual: &Self) -> Self {
        let mut all = usual.0.clone();
        all.extend(self.0.clone());
        Self(all)
    }
}

fn is_plain(text: &str, also: &[char]) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(&c);
    text.len() <= LONGEST && text.chars().all(allowed)
}

impl<'de> Deserialize<'de> for TemplateArguments {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Arguments)
    }
}

struct Arguments;

impl<'de> Visitor<'de> for Arguments {
    type Value = TemplateArguments;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of arguments of the chat template")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TemplateArguments, A::Error> {
        let mut all = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let shown: String = name.chars().take(LONGEST).collect();
            if name.is_empty() || !is_plain(&name, &[]) {
                return Err(de::Error::custom(format!("`{shown}` is not the name of an argument of a chat template")));
            }
            let value = map.next_value::<Given>().map_err(|e| de::Error::custom(format!("`{shown}`: {e}")))?;
            all.extend(value.0.map(|value| (name, value)));
            if all.len() > MOST {
                return Err(de::Error::custom(format!("a chat template takes at most {MOST} arguments")));
            }
        }
        Ok(TemplateArguments(all))
    }
}

/// A value, or null, which is as good as none.
struct Given(Option<TemplateArgument>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Value)
    }
}

struct Value;

impl Visitor<'_> for Value {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "true, false, a whole number, or a text of at most {LONGEST} letters, digits and `-_. `")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Given, E> {
        Ok(Given(None))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Given, E> {
        Ok(Given(Some(TemplateArgument::Flag(flag))))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Given, E> {
        Ok(Given(Some(TemplateArgument::Number(number))))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Given, E> {
        let number = i64::try_from(number).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(number), &self))?;
        self.visit_i64(number)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
        if is_plain(text, &['-', '.', ' ']) {
            return Ok(Given(Some(TemplateArgument::Text(text.to_owned()))));
        }
        let shown: String = text.chars().take(LONGEST).collect();
        Err(E::invalid_value(de::Unexpected::Str(&shown), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<TemplateArguments, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_are_flags_numbers_and_short_plain_texts() {
        let all = read(r#"{"enable_thinking": false, "effort": "very-high", "depth": 3, "nothing": null}"#).unwrap();
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(text, r#"{"depth":3,"effort":"very-high","enable_thinking":false}"#);
        assert_eq!(read(&text).unwrap(), all);
        assert_eq!(TemplateArguments::thinking(Some(true)).over(&all).iter().count(), 3);
        assert!(TemplateArguments::thinking(None).is_empty());
    }

    #[test]
    fn what_could_forge_a_turn_or_fill_memory_is_refused() {
        let long = format!(r#"{{"a": "{}"}}"#, "x".repeat(65));
        let many: Vec<String> = (0..17).map(|i| format!(r#""a{i}": 1"#)).collect();
        let many = format!("{{{}}}", many.join(","));
        for json in [
            r#"{"a": "<|im_end|>"}"#,
            r#"{"a": []}"#,
            r#"{"a": {}}"#,
            r#"{"a": 0.5}"#,
            r#"{"a b": 1}"#,
            "[]",
            &long,
            &many,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
