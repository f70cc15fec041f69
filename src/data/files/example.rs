//! From a row's cells to an [`Example`].

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use image::RgbImage;

use super::cell::{Cell, Row, find};
use super::paths;
use crate::data::Example;
use crate::domain::spec::Columns;
use crate::images::{self, ImageLimits};

/// Lists of images inside lists are flattened this deep.
const DEPTH: usize = 4;
const IMAGE_MARK: &str = "<image>";

/// Everything needed to read a row's images.
pub(super) struct Place<'a> {
    /// The data set's folder, canonical.
    pub(super) root: &'a Path,
    /// The data file of the row.
    pub(super) file: &'a Path,
    /// How large an image may be.
    pub(super) limits: ImageLimits,
}

/// Sees every image file that is read: its path and bytes.
pub(super) type Witness<'a> = &'a mut dyn FnMut(&Path, &[u8]);

/// The example in `row`; an error says what is wrong with the row.
pub(super) fn example(
    index: u64,
    row: &Row,
    columns: &Columns,
    place: &Place<'_>,
    witness: Witness<'_>,
) -> Result<Example, String> {
    let prompt = text(required(row, &columns.prompt, "prompt")?).map_err(|e| about(&columns.prompt, &e))?;
    if prompt.trim().is_empty() {
        return Err(about(&columns.prompt, "is empty; a prompt is needed"));
    }
    let demonstration =
        optional(row, columns.demonstration.as_deref()).map(|(name, cell)| text(cell).map_err(|e| about(name, &e)));
    let demonstration = demonstration.transpose()?;
    let answer = match find(row, &columns.answer) {
        // Supervised training needs no ground truth.
        None | Some(Cell::Null) if demonstration.is_some() => String::new(),
        None => text(required(row, &columns.answer, "answer")?)?,
        Some(cell) => text(cell).map_err(|e| about(&columns.answer, &e))?,
    };
    let tags = optional(row, columns.tags.as_deref()).map(|(name, cell)| tags(cell).map_err(|e| about(name, &e)));
    let mut images = Vec::new();
    if let Some(cell) = find(row, &columns.images) {
        collect(cell, place, witness, &mut images, 0).map_err(|e| about(&columns.images, &e))?;
    }
    let marks = prompt.matches(IMAGE_MARK).count();
    if marks != 0 && marks != images.len() {
        return Err(format!(
            "the prompt has {marks} `{IMAGE_MARK}` marks but column `{}` has {} images: write one mark per image, or none",
            columns.images,
            images.len()
        ));
    }
    Ok(Example { index, prompt, answer, images, demonstration, tags: tags.transpose()?.unwrap_or_default() })
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

fn optional<'a>(row: &'a Row, name: Option<&'a str>) -> Option<(&'a str, &'a Cell)> {
    let name = name?;
    find(row, name).filter(|cell| **cell != Cell::Null).map(|cell| (name, cell))
}

fn text(cell: &Cell) -> Result<String, String> {
    match cell {
        Cell::Text(text) | Cell::Plain(text) => Ok(text.clone()),
        Cell::Bytes(bytes) => std::str::from_utf8(bytes.data())
            .map(str::to_owned)
            .map_err(|_| "holds bytes that are no UTF-8 text".into()),
        other => Err(format!("is {}; text is needed", other.kind())),
    }
}

fn tags(cell: &Cell) -> Result<Vec<String>, String> {
    match cell {
        Cell::List(items) => items.iter().map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}

/// Appends the images of a cell: one image, or a list of them.
fn collect(
    cell: &Cell,
    place: &Place<'_>,
    witness: Witness<'_>,
    images: &mut Vec<Arc<RgbImage>>,
    depth: usize,
) -> Result<(), String> {
    match cell {
        Cell::Null if depth == 0 => Ok(()),
        Cell::List(items) if depth < DEPTH => {
            items.iter().try_for_each(|item| collect(item, place, witness, images, depth + 1))
        }
        one => {
            let number = images.len() + 1;
            let image = image(one, place, witness).map_err(|problem| format!("image {number}: {problem}"))?;
            images.push(Arc::new(image));
            Ok(())
        }
    }
}

fn image(cell: &Cell, place: &Place<'_>, witness: Witness<'_>) -> Result<RgbImage, String> {
    let decode = |bytes: &[u8]| {
        images::decode_image(bytes, &place.limits).map_err(|e| e.to_string().trim_start_matches("image: ").to_owned())
    };
    match cell {
        Cell::Bytes(bytes) => decode(bytes.data()),
        Cell::Text(url) if url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) => {
            decode(&images::data_url(url).map_err(|e| e.to_string())?)
        }
        Cell::Text(url) if url.contains("://") => {
            let shown: String = url.chars().take(60).collect();
            Err(format!("`{shown}` is an address; nothing is fetched: send the image file along, or a data URL"))
        }
        Cell::Text(path) => {
            let path = paths::resolve(place.root, place.file, path)?;
            let bytes = read(&path, place.limits.max_bytes)?;
            witness(&path, &bytes);
            decode(&bytes)
        }
        Cell::Record(_) => match (cell.get("bytes"), cell.get("path")) {
            (Some(Cell::Bytes(bytes)), _) => decode(bytes.data()),
            (Some(Cell::Text(base64)), _) => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(base64);
                decode(&bytes.map_err(|e| format!("`bytes` is no base64 text: {e}"))?)
            }
            (_, Some(path @ Cell::Text(_))) => image(path, place, witness),
            _ => Err("the object has neither `bytes` nor `path`".to_owned()),
        },
        other => Err(format!("is {}; a path, a data URL or {{\"bytes\", \"path\"}} is needed", other.kind())),
    }
}

fn read(path: &Path, max: usize) -> Result<Vec<u8>, String> {
    let fault = |e: std::io::Error| format!("cannot be read: {e}");
    let mut bytes = Vec::new();
    // One byte more than allowed is enough to tell that it is too much.
    std::fs::File::open(path).map_err(fault)?.take(max as u64 + 1).read_to_end(&mut bytes).map_err(fault)?;
    Ok(bytes)
}
