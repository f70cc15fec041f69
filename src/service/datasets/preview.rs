//! A look at rows: texts, and small pictures of the images.

use std::sync::Arc;

use image::{DynamicImage, RgbImage};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::data::{Dataset, Example, Split};
use crate::domain::dataset::DatasetState;
use crate::domain::page::Listing;
use crate::images::png_url;
use crate::service::core::pool::Stop;
use crate::service::datasets::Datasets;
use crate::service::{Result, ServiceError};

/// An answer takes in no further row when it has as many bytes.
const MAX_ANSWER: usize = 16 << 20;
/// Longest side of a thumbnail in pixels.
const THUMBNAIL: u32 = 96;

/// One row of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewRow {
    /// Its position in its part.
    pub row: u64,
    /// The question.
    pub prompt: String,
    /// Where it is: the file inside the data set, and its line or row from 1; none for generated tasks.
    pub file: Option<String>,
    /// Line or row of the file, from 1.
    pub line: Option<u64>,
    /// The ground truth; a JSON list if several answers are correct.
    pub answer: String,
    /// A demonstration, if there is one.
    pub demonstration: Option<String>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its images.
    pub images: Vec<PreviewImage>,
}

/// A thumbnail of a row's image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewImage {
    /// Width of the image itself.
    pub width: u32,
    /// Height of the image itself.
    pub height: u32,
    /// A PNG with sides of at most 96 pixels, as a data URL.
    pub thumbnail: String,
    /// The image as a job reads it: a PNG, as a data URL. Only if requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
}

/// Which rows are looked at.
#[derive(Debug, Clone, Copy)]
pub struct RowsWanted {
    /// Those held out instead of those to train on.
    pub held_out: bool,
    /// The first.
    pub offset: u64,
    /// How many at most.
    pub limit: u64,
    /// With full images in addition to thumbnails.
    pub pictures: bool,
}

impl Datasets {
    /// Rows of one part of a ready data set.
    pub async fn rows(&self, name_or_id: &str, wanted: RowsWanted) -> Result<Listing<PreviewRow>> {
        let record = self.store.dataset(name_or_id).await?;
        if record.state != DatasetState::Ready {
            let detail = format!("data set `{}` is {}, but must be ready", record.name, record.state.name());
            return Err(ServiceError::Conflict(detail));
        }
        let data = self.open(&record, None).await?;
        self.previews.run(move |stop| rows(&data, wanted, stop)).await
    }
}

fn rows(data: &Arc<dyn Dataset>, wanted: RowsWanted, stop: &Stop) -> Result<Listing<PreviewRow>> {
    let RowsWanted { held_out, offset, limit, pictures } = wanted;
    let split = if held_out { Split::Eval } else { Split::Train };
    let total = data.len(split);
    if offset > 0 && offset >= total {
        let detail = format!("`after` is {offset}, but this part of the data set has {total} rows");
        return Err(ServiceError::field("?after", detail));
    }
    let last = offset.saturating_add(limit).min(total);
    let read = |row| {
        stop.check()?;
        let example = data.example(split, row).map_err(|error| ServiceError::Conflict(error.to_string()))?;
        preview(row, example, pictures)
    };
    let (mut rows, mut bytes, mut end) = (Vec::new(), 0, offset);
    // Rows may be large: an answer ends early rather than hold all of them.
    while end < last && bytes < MAX_ANSWER {
        let row = read(end)?;
        bytes += size(&row);
        rows.push(row);
        end += 1;
    }
    let has_more = end < total;
    Ok(Listing { data: rows, has_more, next: has_more.then(|| end.to_string()) })
}

/// Bytes of a row's texts and pictures.
fn size(row: &PreviewRow) -> usize {
    let pictures = row.images.iter().map(|image| image.thumbnail.len() + image.picture.as_ref().map_or(0, String::len));
    pictures.sum::<usize>() + row.prompt.len() + row.answer.len() + row.demonstration.as_ref().map_or(0, String::len)
}

fn preview(row: u64, example: Example, pictures: bool) -> Result<PreviewRow> {
    let images = example.images.iter().map(|image| {
        let (width, height) = image.dimensions();
        let picture = pictures.then(|| address(image)).transpose()?;
        Ok(PreviewImage { width, height, thumbnail: thumbnail(image)?, picture })
    });
    Ok(PreviewRow {
        row,
        images: images.collect::<Result<_>>()?,
        file: example.source.as_ref().map(|source| source.file.clone()),
        line: example.source.as_ref().map(|source| source.row),
        answer: example.answer(),
        prompt: example.prompt,
        demonstration: example.demonstration,
        tags: example.tags,
    })
}

fn thumbnail(image: &RgbImage) -> Result<String> {
    let (width, height) = image.dimensions();
    if width.max(height) <= THUMBNAIL {
        return address(image);
    }
    address(&DynamicImage::from(image.clone()).thumbnail(THUMBNAIL, THUMBNAIL).into_rgb8())
}

fn address(picture: &RgbImage) -> Result<String> {
    png_url(picture).map_err(|error| ServiceError::Internal(error.to_string()))
}
