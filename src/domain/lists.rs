//! Lists in requests, with a limit that holds while they are read: `"",` is three bytes, and a text in memory is 24.

use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// A list of at most `MOST` entries.
pub fn at_most<'de, D, T, const MOST: usize>(json: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    json.deserialize_seq(Entries::<T, MOST>(PhantomData))
}

/// A list of at most `MOST` entries, or none.
pub fn optional<'de, D, T, const MOST: usize>(json: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    json.deserialize_option(Maybe::<T, MOST>(PhantomData))
}

/// The entries of a list that is being read, at most `most`.
pub fn entries<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(mut list: A, most: usize) -> Result<Vec<T>, A::Error> {
    let mut entries = Vec::new();
    while entries.len() < most {
        match list.next_element()? {
            Some(entry) => entries.push(entry),
            None => return Ok(entries),
        }
    }
    match list.next_element::<IgnoredAny>()? {
        None => Ok(entries),
        Some(_) => Err(A::Error::custom(format!("the list has more than {most} entries, which is the limit"))),
    }
}

struct Entries<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Entries<T, MOST> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
        entries(list, MOST)
    }
}

struct Maybe<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Maybe<T, MOST> {
    type Value = Option<Vec<T>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        at_most::<D, T, MOST>(json).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Request {
        #[serde(deserialize_with = "at_most::<_, _, 3>")]
        list: Vec<u64>,
        #[serde(default, deserialize_with = "optional::<_, _, 3>")]
        maybe: Option<Vec<String>>,
    }

    #[test]
    fn a_list_ends_at_its_limit() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        let request = read(r#"{"list": [1, 2, 3], "maybe": ["a"]}"#).unwrap();
        assert_eq!((request.list, request.maybe), (vec![1, 2, 3], Some(vec!["a".to_owned()])));
        assert_eq!(read(r#"{"list": [], "maybe": null}"#).unwrap().maybe, None);
        assert_eq!(read(r#"{"list": []}"#).unwrap().maybe, None);
        for text in [r#"{"list": [1, 2, 3, 4]}"#, r#"{"list": [], "maybe": ["", "", "", ""]}"#] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains("more than 3 entries"), "{refused}");
        }
    }
}
