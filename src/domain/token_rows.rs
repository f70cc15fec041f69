//! Stored samples token by token: one row per token with every number that the learner had for it.

use super::sample::{SampleRecord, SampleResponse, SampleShares};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// Text.
    Text,
    /// A whole number.
    Whole,
    /// A number, or none.
    Number,
    /// Yes, no, or none.
    Flag,
}

/// A cell of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// A whole number.
    Whole(u64),
    /// A number, or none.
    Number(Option<f64>),
    /// Yes, no, or none.
    Flag(Option<bool>),
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Number(Some(number)) => write!(f, "{number}"),
            Self::Flag(Some(flag)) => write!(f, "{flag}"),
            Self::Number(None) | Self::Flag(None) => Ok(()),
        }
    }
}

/// The columns, in order.
pub const TOKEN_COLUMNS: [(&str, ColumnKind); 19] = [
    ("sample_id", ColumnKind::Text),
    ("step", ColumnKind::Whole),
    ("row", ColumnKind::Whole),
    ("eval", ColumnKind::Flag),
    ("response", ColumnKind::Whole),
    ("token", ColumnKind::Whole),
    ("text", ColumnKind::Text),
    ("logprob", ColumnKind::Number),
    ("focus", ColumnKind::Number),
    ("attention_image", ColumnKind::Number),
    ("attention_query", ColumnKind::Number),
    ("attention_generated", ColumnKind::Number),
    ("psi", ColumnKind::Number),
    ("shaped_advantage", ColumnKind::Number),
    ("phi", ColumnKind::Number),
    ("advantage", ColumnKind::Number),
    ("reward", ColumnKind::Number),
    ("correct", ColumnKind::Flag),
    ("cut_off", ColumnKind::Flag),
];

/// One row of the table.
pub type TokenRow<'a> = [Cell<'a>; TOKEN_COLUMNS.len()];

/// The rows of a sample: every token of every response, in order.
pub fn token_rows(record: &SampleRecord) -> impl Iterator<Item = TokenRow<'_>> {
    let responses = record.group.responses.iter().enumerate();
    responses.flat_map(move |(index, response)| {
        (0..response.tokens.len()).map(move |token| row(record, (index, response), token))
    })
}

/// Held-out answers have no weights and no advantage: their zeros were never measured.
fn row<'a>(record: &'a SampleRecord, (index, response): (usize, &'a SampleResponse), token: usize) -> TokenRow<'a> {
    let trained = !record.group.eval;
    let at = |values: &[f64]| Cell::Number(values.get(token).copied());
    let of_learner = |value: Option<f64>| Cell::Number(value.filter(|_| trained));
    let shares = response.attention.as_ref();
    let share =
        |part: fn(&SampleShares) -> &Vec<f64>| Cell::Number(shares.and_then(|shares| part(shares).get(token).copied()));
    [
        Cell::Text(&record.id),
        Cell::Whole(record.step),
        Cell::Whole(record.group.row),
        Cell::Flag(Some(record.group.eval)),
        Cell::Whole(index as u64),
        Cell::Whole(token as u64),
        Cell::Text(&response.tokens[token]),
        at(&response.logprobs),
        response.focus.as_deref().map_or(Cell::Number(None), at),
        share(|shares| &shares.image),
        share(|shares| &shares.query),
        share(|shares| &shares.generated),
        of_learner(response.psi.get(token).copied()),
        of_learner(response.shaped_advantage.get(token).copied()),
        of_learner(Some(response.phi)),
        of_learner(Some(response.advantage)),
        Cell::Number(Some(response.reward)),
        Cell::Flag(response.correct),
        Cell::Flag(Some(response.cut_off)),
    ]
}
