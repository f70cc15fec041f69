//! One value of a row, whichever format it came from.

use parquet::data_type::ByteArray;
use parquet::record::Field;
use serde_json::Value;

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    /// Nothing.
    Null,
    /// Text.
    Text(String),
    /// A number or a truth value, as it is written.
    Plain(String),
    /// Bytes.
    Bytes(ByteArray),
    /// A list.
    List(Vec<Cell>),
    /// Named values.
    Record(Vec<(String, Cell)>),
    /// Something no column of ours can hold, by its kind.
    Other(&'static str),
}

/// The named values of a row.
pub(super) type Row = Vec<(String, Cell)>;

impl Cell {
    /// What it is, for error messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text(_) => "text",
            Self::Plain(_) => "a number or truth value",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "a list",
            Self::Record(_) => "an object",
            Self::Other(kind) => kind,
        }
    }

    /// The value called `name` of a record.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Record(values) => find(values, name),
            _ => None,
        }
    }
}

/// The value called `name`.
pub(super) fn find<'a>(row: &'a [(String, Cell)], name: &str) -> Option<&'a Cell> {
    row.iter().find(|(known, _)| known == name).map(|(_, cell)| cell)
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Plain(flag.to_string()),
            Value::Number(number) => Self::Plain(number.to_string()),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(fields) => {
                Self::Record(fields.into_iter().map(|(name, value)| (name, Self::from(value))).collect())
            }
        }
    }
}

impl From<Field> for Cell {
    fn from(field: Field) -> Self {
        match field {
            Field::Null => Self::Null,
            Field::Str(text) => Self::Text(text),
            // Writers that do not mark text as such store it as bytes; images are bytes as well. The column decides.
            Field::Bytes(bytes) => Self::Bytes(bytes),
            Field::Group(row) => {
                Self::Record(row.into_columns().into_iter().map(|(name, field)| (name, Self::from(field))).collect())
            }
            Field::ListInternal(list) => Self::List(list.elements().iter().cloned().map(Self::from).collect()),
            Field::MapInternal(_) => Self::Other("a map"),
            number @ (Field::Bool(_)
            | Field::Byte(_)
            | Field::Short(_)
            | Field::Int(_)
            | Field::Long(_)
            | Field::UByte(_)
            | Field::UShort(_)
            | Field::UInt(_)
            | Field::ULong(_)
            | Field::Float16(_)
            | Field::Float(_)
            | Field::Double(_)
            | Field::Decimal(_)) => Self::Plain(number.to_string()),
            _ => Self::Other("a date or time"),
        }
    }
}
