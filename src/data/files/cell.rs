//! One value of a row, whichever format it came from.

use parquet::record::Field;

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
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Cell>),
    /// Named values.
    Record(Vec<(String, Cell)>),
    /// Something no column of ours can hold, by its kind.
    Other(&'static str),
}

/// The named values of a row.
pub(super) type Row = Vec<(String, Cell)>;

/// Overhead of a value in addition to its bytes.
const OVERHEAD: usize = 64;

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
            Self::Record(values) => field(values, name),
            _ => None,
        }
    }

    /// Is there nothing in it? Empty text, a record of nothing and a list of nothing are as good as null.
    pub(super) fn is_blank(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Text(text) => text.trim().is_empty(),
            Self::Plain(number) => number == "NaN",
            Self::Bytes(bytes) => bytes.is_empty(),
            Self::List(items) => items.iter().all(Self::is_blank),
            Self::Record(values) => values.iter().all(|(_, value)| value.is_blank()),
            Self::Other(_) => false,
        }
    }

    /// Bytes in memory, about.
    pub(super) fn size(&self) -> usize {
        let inside = match self {
            Self::Null | Self::Other(_) => 0,
            Self::Text(text) | Self::Plain(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Self::size).sum(),
            Self::Record(values) => size(values),
        };
        inside + OVERHEAD
    }
}

/// Bytes of a row in memory, about.
pub(super) fn size(row: &[(String, Cell)]) -> usize {
    row.iter().map(|(name, cell)| name.len() + cell.size()).sum()
}

/// The value called `name`; the last one, where JSON names it twice.
fn field<'a>(values: &'a [(String, Cell)], name: &str) -> Option<&'a Cell> {
    values.iter().rev().find(|(known, _)| known == name).map(|(_, cell)| cell)
}

/// The value of the column `name`. A dotted name that is not a column itself refers into objects and lists:
/// `reward_model.ground_truth`, `images.0`.
pub(super) fn find<'a>(row: &'a [(String, Cell)], name: &str) -> Option<&'a Cell> {
    if let Some(cell) = field(row, name) {
        return Some(cell);
    }
    let (head, tail) = name.split_once('.')?;
    tail.split('.').try_fold(field(row, head)?, |cell, piece| match cell {
        Cell::List(items) => piece.parse::<usize>().ok().and_then(|at| items.get(at)),
        cell => cell.get(piece),
    })
}

impl From<Field> for Cell {
    fn from(field: Field) -> Self {
        match field {
            Field::Null => Self::Null,
            Field::Str(text) => Self::Text(text),
            // Writers that do not mark text as such store it as bytes; images are bytes as well. The column decides. A
            // copy, because what Parquet hands out holds its whole page.
            Field::Bytes(bytes) => Self::Bytes(bytes.data().to_vec()),
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
