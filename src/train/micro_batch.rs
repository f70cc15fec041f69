//! Cutting rows into micro-batches: as little padding and as few image encodings as the limit on tokens allows. Which rows
//! stand together never changes a result beyond rounding.

use std::sync::Arc;

use candle_core::Device;

use crate::model::ImagePatches;

use super::train_row::TrainRow;

/// How the rows of a micro-batch become one batch. Both give the same scores and gradients, beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One row of a tensor each, padded to the longest: attention is a dense product on any device.
    Padded,
    /// One behind the other without padding; rows that share a prompt read it once, images included. Attention skips what a
    /// row does not see only in the CPU's kernels.
    Shared,
}

impl Packing {
    /// The better form on `device`.
    pub fn on(device: &Device) -> Self {
        if device.is_cpu() { Self::Shared } else { Self::Padded }
    }
}

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
    !a.sequence.images.is_empty() && same_images(&a.sequence.images, &b.sequence.images)
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

/// Do two rows read the same prompt, with these images?
pub(super) fn share_prompt(
    a: &TrainRow,
    images_of_a: &[Arc<ImagePatches>],
    b: &TrainRow,
    images_of_b: &[Arc<ImagePatches>],
) -> bool {
    same_images(images_of_a, images_of_b) && a.sequence.ids[..a.prompt_len] == b.sequence.ids[..b.prompt_len]
}

fn same_images(a: &[Arc<ImagePatches>], b: &[Arc<ImagePatches>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Indices of the rows of each micro-batch where rows share their prompt: at most `tokens` tokens each, a prompt counted once (a
/// longer row stands alone), and at least one for each of `threads`, all of about the same size.
///
/// Groups stay whole where they fit: a group that is cut reads its prompt in every part. The largest parts are dealt out
/// first, each to the micro-batch that has the least, so the cut depends on rows and threads only.
pub fn shared_micro_batches(rows: &[&TrainRow], tokens: u64, threads: usize) -> Vec<Vec<usize>> {
    let groups = by_prompt(rows);
    let parts_each = threads.div_ceil(groups.len().max(1));
    let mut parts: Vec<Vec<usize>> = groups.iter().flat_map(|group| cut(rows, group, tokens, parts_each)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(shared_tokens(rows, part)));
    let total: u64 = parts.iter().map(|part| shared_tokens(rows, part)).sum();
    let wanted = total.div_ceil(tokens.max(1)) as usize;
    let count = wanted.next_multiple_of(threads.max(1)).min(parts.len());
    let mut bins: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); count];
    for part in parts {
        let size = shared_tokens(rows, &part);
        let least = bins.iter_mut().min_by_key(|bin| bin.0);
        match least {
            Some(bin) if bin.0 == 0 || bin.0 + size <= tokens => {
                bin.0 += size;
                bin.1.extend(part);
            }
            _ => bins.push((size, part)),
        }
    }
    bins.into_iter().map(|bin| bin.1).filter(|bin| !bin.is_empty()).collect()
}

/// Neighbouring rows of one prompt.
fn by_prompt(rows: &[&TrainRow]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let alike = |group: &&mut Vec<usize>| {
            let first = rows[group[0]];
            share_prompt(first, &first.sequence.images, row, &row.sequence.images)
                && same_images(first.masked_or_own(), row.masked_or_own())
        };
        match groups.last_mut().filter(alike) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// A group in at least `parts` parts of about the same size, as far as it has rows; none above the limit.
fn cut(rows: &[&TrainRow], group: &[usize], tokens: u64, parts: usize) -> Vec<Vec<usize>> {
    let prompt = rows[group[0]].prompt_len as u64;
    let responses = shared_tokens(rows, group) - prompt;
    let room = responses.div_ceil(parts.max(1) as u64).min(tokens.saturating_sub(prompt));
    let (mut out, mut size): (Vec<Vec<usize>>, u64) = (Vec::new(), 0);
    for row in group {
        let own = rows[*row].response_len() as u64;
        match out.last_mut() {
            Some(part) if size + own <= room => {
                size += own;
                part.push(*row);
            }
            _ => {
                size = own;
                out.push(vec![*row]);
            }
        }
    }
    out
}

/// Tokens of rows of one prompt, the prompt counted once.
fn shared_tokens(rows: &[&TrainRow], part: &[usize]) -> u64 {
    let prompt = part.first().map_or(0, |row| rows[*row].prompt_len);
    (prompt + part.iter().map(|row| rows[*row].response_len()).sum::<usize>()) as u64
}
