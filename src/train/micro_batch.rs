//! Cutting rows into micro-batches: as little padding and as few image encodings as the limit on tokens allows. Which rows
//! stand together never changes a result beyond rounding.

use std::sync::Arc;

use crate::model::ImagePatches;

use super::learner::TrainRow;

/// Indices of the rows of each micro-batch, at most `tokens` padded tokens each (a longer row stands alone).
///
/// Three orders are tried: rows as they are, rows by length within their group (rows of one prompt share its image), and all
/// rows by length. The one with the least work wins: padded tokens to decode plus patches to encode. Ties go to the first, so
/// the cut depends on the rows only.
pub fn micro_batches(rows: &[&TrainRow], tokens: u64) -> Vec<Vec<usize>> {
    let orders = [(0..rows.len()).collect(), by_group(rows), by_length(rows)];
    let cuts = orders.map(|order| fill(rows, &order, tokens));
    cuts.into_iter().min_by_key(|cut| cut.iter().map(|bin| work(rows, bin)).sum::<usize>()).unwrap_or_default()
}

/// Share of the micro-batches' tokens that is padding.
pub fn padding_share(rows: &[&TrainRow], batches: &[Vec<usize>]) -> f64 {
    let padded: usize = batches.iter().map(|bin| bin.len() * longest(rows, bin)).sum();
    let real: usize = rows.iter().map(|row| row.sequence.ids.len()).sum();
    1.0 - real as f64 / padded.max(1) as f64
}

fn by_length(rows: &[&TrainRow]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| rows[*row].sequence.ids.len());
    order
}

/// Groups by the length of their longest row, rows by length within their group.
fn by_group(rows: &[&TrainRow]) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for row in 0..rows.len() {
        match groups.last_mut() {
            Some(group) if share_images(rows[group[0]], rows[row]) => group.push(row),
            _ => groups.push(vec![row]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|row| rows[*row].sequence.ids.len());
    }
    groups.sort_by_key(|group| longest(rows, group));
    groups.concat()
}

fn share_images(a: &TrainRow, b: &TrainRow) -> bool {
    let (a, b) = (&a.sequence.images, &b.sequence.images);
    !a.is_empty() && a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

fn longest(rows: &[&TrainRow], bin: &[usize]) -> usize {
    bin.iter().map(|row| rows[*row].sequence.ids.len()).max().unwrap_or(0)
}

/// Fills one micro-batch after the other.
fn fill(rows: &[&TrainRow], order: &[usize], tokens: u64) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut widest = 0;
    for row in order {
        let length = rows[*row].sequence.ids.len();
        let fits = out.last().is_some_and(|bin| ((bin.len() + 1) * length.max(widest)) as u64 <= tokens);
        match out.last_mut() {
            Some(bin) if fits => {
                widest = widest.max(length);
                bin.push(*row);
            }
            _ => {
                widest = length;
                out.push(vec![*row]);
            }
        }
    }
    out
}

/// Padded tokens plus the patches of the distinct images.
fn work(rows: &[&TrainRow], bin: &[usize]) -> usize {
    let mut images: Vec<&Arc<ImagePatches>> = Vec::new();
    for image in bin.iter().flat_map(|row| &rows[*row].sequence.images) {
        if !images.iter().rev().any(|known| Arc::ptr_eq(known, image)) {
            images.push(image);
        }
    }
    bin.len() * longest(rows, bin) + images.iter().map(|image| image.grid.patches()).sum::<usize>()
}
