//! JSON of any shape from a request, with a limit on how much of it becomes a tree.
//!
//! A value in a tree takes dozens of times the bytes that it takes as text (`0,` is two), so that a limit on the body
//! alone is none on memory.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Values of one tree. A job has about a hundred.
pub const MOST_VALUES: usize = 20_000;

/// JSON of at most [`MOST_VALUES`] values.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Tree(pub Value);

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let mut left = MOST_VALUES;
        Node { left: &mut left }.deserialize(json).map(Self)
    }
}

/// A field that holds a [`Tree`].
pub fn value<'de, D: Deserializer<'de>>(json: D) -> Result<Value, D::Error> {
    Tree::deserialize(json).map(|tree| tree.0)
}

/// A field that may hold a [`Tree`].
pub fn optional<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Value>, D::Error> {
    value(json).map(|value| Some(value).filter(|value| !value.is_null()))
}

/// A field that holds a [`Tree`] which is an object.
pub fn object<'de, D: Deserializer<'de>>(json: D) -> Result<Map<String, Value>, D::Error> {
    match value(json)? {
        Value::Object(members) => Ok(members),
        _ => Err(D::Error::custom("it must be an object")),
    }
}

struct Node<'a> {
    left: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        let too_many = || D::Error::custom(format!("it holds more than {MOST_VALUES} values, which is the limit"));
        *self.left = self.left.checked_sub(1).ok_or_else(too_many)?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element_seed(Node { left: self.left })? {
            list.push(entry);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key()? {
            let member = members.next_value_seed(Node { left: self.left })?;
            object.insert(name, member);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_is_what_was_written() {
        let value = json!({"a": [1, -1, 1.5, true, null, "x", {"b": []}], "c": 18_446_744_073_709_551_615_u64});
        assert_eq!(serde_json::from_str::<Tree>(&value.to_string()).unwrap(), Tree(value));
    }

    #[test]
    fn what_would_become_a_forest_is_refused_while_it_is_read() {
        let entries = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(serde_json::from_str::<Tree>(&entries(MOST_VALUES - 1)).is_ok());
        let refused = serde_json::from_str::<Tree>(&entries(MOST_VALUES)).unwrap_err().to_string();
        assert!(refused.contains("more than 20000 values"), "{refused}");
        assert!(serde_json::from_str::<Tree>(&"{\"a\":".repeat(1000)).is_err());
    }
}
