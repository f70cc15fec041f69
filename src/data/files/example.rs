//! From a row's cells to an [`Example`].

use super::cell::{Cell, Row, find};
use super::conversation::{Conversation, conversation};
use super::file_finder::{ImageContext, Witness};
use super::pictures::Pictures;
use super::truths::truths;
use crate::data::Example;
use crate::domain::counted::counted;
use crate::domain::spec::Columns;

const IMAGE_MARK: &str = "<image>";

/// The example in `row`; an error says what is wrong with the row.
pub(super) fn example(
    index: u64,
    row: &Row,
    columns: &Columns,
    context: &ImageContext<'_>,
    witness: Witness<'_>,
) -> Result<Example, String> {
    let cell = required(row, &columns.prompt, "prompt")?;
    let plain = || text(cell).map(|prompt| Conversation { prompt, ..Conversation::default() });
    let asked = conversation(cell).unwrap_or_else(plain).map_err(|e| about(&columns.prompt, &e))?;
    if asked.prompt.trim().is_empty() {
        return Err(about(&columns.prompt, "is empty; a prompt is needed"));
    }
    let demonstration = optional(row, columns.demonstration.as_deref())
        .map(|(name, cell)| text(cell).map_err(|e| about(name, &e)))
        .transpose()?
        .or_else(|| asked.reply.clone());
    let answers = answers(row, columns, demonstration.as_deref(), asked.reply)?;
    let tags = optional(row, columns.tags.as_deref()).map(|(name, cell)| tags(cell).map_err(|e| about(name, &e)));
    let mut pictures = Pictures::new(context, witness);
    let column = find(row, &columns.images).filter(|cell| !cell.is_blank());
    if let (Some(_), false) = (column, asked.images.is_empty()) {
        return Err(about(&columns.images, "holds images, and so do the messages; keep them in one place"));
    }
    let source = if asked.images.is_empty() { &columns.images } else { &columns.prompt };
    let cells = if asked.images.is_empty() { column.map(std::slice::from_ref) } else { Some(&asked.images[..]) };
    for cell in cells.unwrap_or_default() {
        pictures.collect(cell).map_err(|e| about(source, &e))?;
    }
    let images = pictures.finish();
    let marks = asked.prompt.matches(IMAGE_MARK).count();
    if marks != 0 && marks != images.len() {
        return Err(format!(
            "the prompt has {} (`{IMAGE_MARK}`) but column `{source}` has {}: write one mark per image, or none",
            counted(marks, "mark", "marks"),
            counted(images.len(), "image", "images")
        ));
    }
    Ok(Example {
        index,
        prompt: asked.prompt,
        answers,
        images,
        demonstration,
        tags: tags.transpose()?.unwrap_or_default(),
        system: asked.system,
        source: None,
    })
}

/// The truths of a row. Where no column holds them, what a conversation answers is one; supervised training needs none.
fn answers(
    row: &Row,
    columns: &Columns,
    demonstration: Option<&str>,
    reply: Option<String>,
) -> Result<Vec<String>, String> {
    let column = &columns.answer;
    let Some(cell) = find(row, column) else {
        return match (reply, demonstration) {
            (Some(reply), _) => Ok(vec![reply]),
            (None, Some(_)) => Ok(Vec::new()),
            (None, None) => Err(missing(column, "answer", row.iter().map(|(known, _)| known.as_str()))),
        };
    };
    let answers = truths(cell).map_err(|e| about(column, &e))?;
    if answers.is_empty() && demonstration.is_none() {
        let what = if *cell == Cell::Null { "null" } else { "empty" };
        return Err(about(column, &format!("is {what}; a ground truth is needed where there is no demonstration")));
    }
    Ok(answers)
}

fn about(column: &str, problem: &str) -> String {
    format!("column `{column}` {problem}")
}

fn required<'a>(row: &'a Row, name: &str, role: &str) -> Result<&'a Cell, String> {
    find(row, name).ok_or_else(|| missing(name, role, row.iter().map(|(known, _)| known.as_str())))
}

/// The complaint about a column that is not there.
pub(super) fn missing<'a>(name: &str, role: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.take(20).collect();
    format!(
        "there is no column `{name}`; there are: {}. Map the one that holds it with columns: {{\"{role}\": \"…\"}}",
        known.join(", ")
    )
}

/// A value that is there and not blank.
fn optional<'a>(row: &'a Row, name: Option<&'a str>) -> Option<(&'a str, &'a Cell)> {
    let name = name?;
    find(row, name).filter(|cell| !cell.is_blank()).map(|cell| (name, cell))
}

fn text(cell: &Cell) -> Result<String, String> {
    match cell {
        Cell::Text(text) | Cell::Plain(text) => Ok(text.clone()),
        Cell::Bytes(bytes) => std::str::from_utf8(bytes)
            .map(str::to_owned)
            .map_err(|_| "holds bytes that are not valid UTF-8 text".into()),
        other => Err(format!("is {}; text is needed", other.kind())),
    }
}

fn tags(cell: &Cell) -> Result<Vec<String>, String> {
    match cell {
        Cell::List(items) => items.iter().filter(|item| !item.is_blank()).map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}
