//! JSON to cells, counted while they are made: a small text can be many values.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::cell::{Cell, Row};

/// Values of one row, names of fields included.
const MAX_VALUES: usize = 1 << 18;
/// Names of columns that are not read, kept for messages.
const MAX_NAMES: usize = 50;

/// The row in `text`; of its columns only those that `wanted` names, and all of them without it. What is not wanted is
/// there by its name alone.
pub(super) fn row<S: AsRef<str>>(text: &[u8], wanted: Option<&[S]>) -> Result<Row, String> {
    let mut left = MAX_VALUES;
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = RowSeed { wanted, left: &mut left };
    let read = seed.deserialize(&mut reader).and_then(|row| reader.end().map(|()| row));
    read.map_err(|error| format!("the line is not a valid JSON object: {error}"))
}

/// Any value, for JSON inside of a string.
pub(super) fn value(text: &str) -> Option<Cell> {
    let mut left = MAX_VALUES;
    let mut reader = serde_json::Deserializer::from_str(text);
    let cell = Seed { left: &mut left }.deserialize(&mut reader).ok()?;
    reader.end().ok().map(|()| cell)
}

/// Does the text hold an object and nothing else?
pub(super) fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

struct RowSeed<'a, S> {
    wanted: Option<&'a [S]>,
    left: &'a mut usize,
}

impl<'de, S: AsRef<str>> DeserializeSeed<'de> for RowSeed<'_, S> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Row, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, S: AsRef<str>> Visitor<'de> for RowSeed<'_, S> {
    type Value = Row;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"problem\": …, \"answer\": …}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
        let (mut row, mut names) = (Row::new(), 0);
        while let Some(name) = map.next_key::<String>()? {
            let is_wanted =
                self.wanted.is_none_or(|wanted| wanted.iter().any(|column| is_head(column.as_ref(), &name)));
            if is_wanted {
                let cell = map.next_value_seed(Seed { left: self.left })?;
                row.push((name, cell));
            } else {
                map.next_value::<IgnoredAny>()?;
                names += 1;
                if names <= MAX_NAMES {
                    row.push((name, Cell::Other("not read")));
                }
            }
        }
        Ok(row)
    }
}

/// Is `name` the column, or what a dotted column reaches into?
pub(super) fn is_head(column: &str, name: &str) -> bool {
    column.strip_prefix(name).is_some_and(|tail| tail.is_empty() || tail.starts_with('.'))
}

struct Seed<'a> {
    left: &'a mut usize,
}

impl Seed<'_> {
    fn take<E: Error>(&mut self) -> Result<(), E> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| {
            E::custom(format!("it holds more than {MAX_VALUES} values, which is the limit for one row"))
        })?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Cell;

    fn deserialize<D: Deserializer<'de>>(mut self, reader: D) -> Result<Cell, D::Error> {
        self.take()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Cell, E> {
        Ok(Cell::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Cell, E> {
        Ok(Cell::Plain(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Cell, E> {
        Ok(Cell::Plain(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Cell, E> {
        Ok(Cell::Plain(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Cell, E> {
        Ok(Cell::Plain(serde_json::Number::from_f64(value).map_or_else(|| value.to_string(), |n| n.to_string())))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Cell, E> {
        Ok(Cell::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Cell, E> {
        Ok(Cell::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Seed { left: self.left })? {
            items.push(item);
        }
        Ok(Cell::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Cell, A::Error> {
        let mut values = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            self.take()?;
            values.push((name, map.next_value_seed(Seed { left: self.left })?));
        }
        Ok(Cell::Record(values))
    }
}
