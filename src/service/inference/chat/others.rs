//! Fields of a request that are not read, of which only a shortened form is kept: they change nothing or are
//! refused, and a list of tools or metadata may have megabytes.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};
use serde_json::{Map, Value};

use crate::domain::brief::{QUOTED, cut};

/// Such fields of one object.
const MOST: usize = 32;
/// Entries of one of them that are kept.
const KEPT: usize = 4;

/// An object with known fields, and others.
pub(super) trait WithOthers<'de>: Sized {
    /// The names of the known fields.
    const KNOWN: &'static [&'static str];

    /// Reads the known fields; there are no others.
    fn read<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error>;

    /// Takes the shortened others.
    fn keep(&mut self, others: Map<String, Value>);
}

/// Reads such an object.
pub(super) fn deserialize<'de, D: Deserializer<'de>, T: WithOthers<'de>>(json: D) -> Result<T, D::Error> {
    json.deserialize_map(Fields(PhantomData))
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: WithOthers<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        let mut others = Map::new();
        let known = Sieve { members, known: T::KNOWN, others: &mut others };
        let mut read = T::read(MapAccessDeserializer::new(known))?;
        read.keep(others);
        Ok(read)
    }
}

/// Lets known fields through, and keeps a shortened form of the others.
struct Sieve<'a, A> {
    members: A,
    known: &'static [&'static str],
    others: &'a mut Map<String, Value>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Sieve<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(name) = self.members.next_key::<String>()? {
            if self.known.contains(&name.as_str()) {
                return seed.deserialize(name.into_deserializer()).map(Some);
            }
            if self.others.len() >= MOST {
                let name = cut(&name, QUOTED);
                return Err(A::Error::custom(format!("it has more than {MOST} unknown fields, among them `{name}`")));
            }
            let gist = self.members.next_value_seed(Gist { inside: false })?;
            self.others.insert(cut(&name, QUOTED), gist);
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

/// The shortened form of a value: itself where it is simple, the first entries of a list or an object, null for what
/// they hold deeper.
struct Gist {
    inside: bool,
}

impl<'de> DeserializeSeed<'de> for Gist {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Gist {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
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
        Ok(cut(value, QUOTED).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while !self.inside && kept.len() < KEPT {
            match entries.next_element_seed(Gist { inside: true })? {
                Some(entry) => kept.push(entry),
                None => return Ok(kept.into()),
            }
        }
        let mut more = false;
        while entries.next_element::<IgnoredAny>()?.is_some() {
            more = true;
        }
        // A list with more entries than were kept.
        kept.extend(more.then_some(Value::Null));
        Ok(if self.inside { Value::Null } else { kept.into() })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.inside || kept.len() >= KEPT {
                members.next_value::<IgnoredAny>()?;
            } else {
                kept.insert(cut(&name, QUOTED), members.next_value_seed(Gist { inside: true })?);
            }
        }
        Ok(if self.inside { Value::Null } else { kept.into() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::ChatRequest;

    fn read(more: &str) -> Result<ChatRequest, String> {
        let text = format!("{{\"model\": \"m\", {more} \"messages\": [{{\"role\": \"user\", \"content\": \"x\"}}]}}");
        let mut json = serde_json::Deserializer::from_str(&text);
        serde_path_to_error::deserialize(&mut json).map_err(|error| format!("{}: {}", error.path(), error.inner()))
    }

    #[test]
    fn of_other_fields_the_gist_is_kept() {
        let request = read(
            "\"tools\": [{\"type\": \"function\", \"function\": {}}], \"response_format\": {\"type\": \"text\"}, \
            \"metadata\": {}, \"n\": 2,",
        );
        let request = request.unwrap();
        assert_eq!((request.model.as_str(), request.n), ("m", Some(2)));
        let kept = json!({"tools": [null], "response_format": {"type": "text"}, "metadata": {}});
        assert_eq!(serde_json::Value::Object(request.other), kept);
        let long = format!("\"modalities\": [{} \"audio\"],", "\"text\",".repeat(100_000));
        assert_eq!(read(&long).unwrap().other["modalities"], json!(["text", "text", "text", "text", null]));
    }

    #[test]
    fn too_many_of_them_are_refused_and_faults_keep_their_path() {
        let many = (0..2000).map(|index| format!("\"field{index}\": 1,")).collect::<Vec<_>>().concat();
        assert!(read(&many).unwrap_err().contains("more than 32 unknown fields, among them `field32`"));
        assert!(read("\"n\": \"many\",").unwrap_err().starts_with("n: invalid type"));
        let text = "{\"model\": \"m\", \"messages\": [{\"role\": \"king\"}]}";
        let mut json = serde_json::Deserializer::from_str(text);
        let fault = serde_path_to_error::deserialize::<_, ChatRequest>(&mut json).unwrap_err();
        assert_eq!(fault.path().to_string(), "messages[0].role");
    }
}
