//! Reads settings from a part of `config.json`, with errors that name file and field. A value of the wrong type is an
//! error, never a default.

use std::path::Path;

use serde_json::{Map, Value};

use crate::model::error::ModelError;

/// Maximum number of characters of a value in an error.
const SHOWN: usize = 80;

/// One object of a configuration.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Reader<'a> {
    path: &'a Path,
    /// Prefix of its field names, e.g. `vision_config.`.
    prefix: &'static str,
    fields: Option<&'a Map<String, Value>>,
}

/// A value as an error shows it.
pub(in crate::model) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= SHOWN {
        return text;
    }
    text.chars().take(SHOWN).chain(['…']).collect()
}

impl<'a> Reader<'a> {
    /// The part `name` of the object `json`; without a name the object itself.
    pub(in crate::model) fn of(
        path: &'a Path,
        json: &'a Value,
        part: Option<(&str, &'static str)>,
    ) -> Result<Self, ModelError> {
        let (value, prefix) = match part {
            None => (Some(json), ""),
            Some((name, prefix)) => (json.get(name).filter(|value| !value.is_null()), prefix),
        };
        let reader = Self { path, prefix, fields: value.and_then(Value::as_object) };
        match (value, part) {
            (Some(value), Some((name, _))) if !value.is_object() => {
                Err(reader.error(format!("`{name}` is {}, but must be an object", shown(value))))
            }
            _ => Ok(reader),
        }
    }

    /// The object `value`, whose fields are shown with `prefix` in errors.
    pub(in crate::model) fn nested(&self, value: Option<&'a Value>, prefix: &'static str) -> Self {
        Self { path: self.path, prefix, fields: value.and_then(Value::as_object) }
    }

    pub(in crate::model) fn is_there(&self) -> bool {
        self.fields.is_some()
    }

    /// Name and value of every field.
    pub(in crate::model) fn fields(&self) -> impl Iterator<Item = (&'a str, &'a Value)> + use<'a> {
        self.fields.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    /// A field that is there and not null.
    pub(in crate::model) fn find(&self, name: &str) -> Option<&'a Value> {
        self.fields?.get(name).filter(|value| !value.is_null())
    }

    /// A field's name with the part that it is in.
    pub(in crate::model) fn full(&self, name: &str) -> String {
        format!("`{}{name}`", self.prefix)
    }

    pub(in crate::model) fn error(&self, problem: String) -> ModelError {
        ModelError::Config { path: self.path.display().to_string(), problem }
    }

    pub(in crate::model) fn wrong(&self, name: &str, value: &Value, must: &str) -> ModelError {
        self.error(format!("{} is {}, but must be {must}", self.full(name), shown(value)))
    }

    fn missing(&self, name: &str) -> ModelError {
        self.error(format!("has no {}", self.full(name)))
    }

    pub(in crate::model) fn size(&self, name: &str) -> Result<usize, ModelError> {
        self.optional_size(name)?.ok_or_else(|| self.missing(name))
    }

    pub(in crate::model) fn size_or(&self, name: &str, default: usize) -> Result<usize, ModelError> {
        Ok(self.optional_size(name)?.unwrap_or(default))
    }

    pub(in crate::model) fn optional_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        // Some tools write every number with a decimal point.
        let whole =
            value.as_u64().or_else(|| value.as_f64().filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64));
        match whole.filter(|n| (1..=1 << 32).contains(n)) {
            Some(number) => Ok(Some(number as usize)),
            None => Err(self.wrong(name, value, "a positive whole number")),
        }
    }

    pub(in crate::model) fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        match value.as_f64().filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, "a number")),
        }
    }

    pub(in crate::model) fn positive(&self, name: &str) -> Result<Option<f64>, ModelError> {
        let number = self.number(name)?;
        match (number, self.find(name)) {
            (Some(number), Some(value)) if number <= 0.0 => Err(self.wrong(name, value, "a number above 0")),
            _ => Ok(number),
        }
    }

    pub(in crate::model) fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.wrong(name, value, "true or false"))
    }

    pub(in crate::model) fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.wrong(name, value, "a string"))
    }

    pub(in crate::model) fn token(&self, name: &str) -> Result<Option<u32>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        match value.as_u64().and_then(|id| u32::try_from(id).ok()) {
            Some(id) => Ok(Some(id)),
            None => Err(self.wrong(name, value, "a token id")),
        }
    }

    /// One token id or several.
    pub(in crate::model) fn tokens(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        match self.find(name) {
            Some(Value::Array(ids)) => {
                let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
                let list = ids.iter().map(id).collect::<Option<Vec<u32>>>();
                list.ok_or_else(|| self.wrong(name, &Value::Array(ids.clone()), "a list of token ids"))
            }
            _ => Ok(self.token(name)?.into_iter().collect()),
        }
    }

    pub(in crate::model) fn list(&self, name: &str) -> Result<Option<Vec<usize>>, ModelError> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let numbers = value.as_array().map(|list| list.iter().map(|n| n.as_u64().map(|n| n as usize)).collect());
        numbers.flatten().map(Some).ok_or_else(|| self.wrong(name, value, "a list of whole numbers"))
    }
}
