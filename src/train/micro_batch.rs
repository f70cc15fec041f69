//! Splitting sequences into micro-batches: as little padding and as few image encodings as the limit on tokens allows.
//! Which sequences share a micro-batch never changes a result beyond rounding.

use std::sync::Arc;

use crate::model::ImagePatches;

use super::train_sequence::TrainSequence;

/// How the sequences of a micro-batch become one batch. Both give the same scores and gradients, beyond rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// One row of a tensor each, padded to the longest: the plainest form, which the other is compared with.
    Padded,
    /// One after the other without padding; sequences that share a prompt hold it once, images included. Attention
    /// skips the keys that a sequence does not attend to.
    Shared,
    /// As [`Packing::Shared`], but no micro-batch holds sequences of two prompts, and the split depends on the
    /// sequences alone: what is computed for a group has the same bits whatever else is computed.
    ByGroup,
}

/// Indices of the sequences of each micro-batch, at most `tokens` padded tokens each (a longer sequence gets one of its
/// own).
///
/// Three orders are tried: sequences as they are, by length within their group (sequences of one prompt share its
/// image), and all by length. The one with the least work wins: padded tokens to decode plus patches to encode. Ties go
/// to the first, so the split depends on the sequences only.
pub fn micro_batches(sequences: &[&TrainSequence], tokens: u64) -> Vec<Vec<usize>> {
    let orders = [(0..sequences.len()).collect(), by_group(sequences), by_length(sequences)];
    let splits = orders.map(|order| pack(sequences, &order, tokens));
    splits
        .into_iter()
        .min_by_key(|split| split.iter().map(|bin| work(sequences, bin)).sum::<usize>())
        .unwrap_or_default()
}

/// Share of the micro-batches' tokens that is padding.
pub fn padding_share(sequences: &[&TrainSequence], batches: &[Vec<usize>]) -> f64 {
    let padded: usize = batches.iter().map(|bin| bin.len() * longest(sequences, bin)).sum();
    let real: usize = sequences.iter().map(|sequence| sequence.input.ids.len()).sum();
    1.0 - real as f64 / padded.max(1) as f64
}

fn by_length(sequences: &[&TrainSequence]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by_key(|index| sequences[*index].input.ids.len());
    order
}

/// Groups by the length of their longest sequence, sequences by length within their group.
fn by_group(sequences: &[&TrainSequence]) -> Vec<usize> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in 0..sequences.len() {
        match groups.last_mut() {
            Some(group) if share_images(sequences[group[0]], sequences[index]) => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|index| sequences[*index].input.ids.len());
    }
    groups.sort_by_key(|group| longest(sequences, group));
    groups.concat()
}

fn share_images(a: &TrainSequence, b: &TrainSequence) -> bool {
    !a.input.images.is_empty() && same_images(&a.input.images, &b.input.images)
}

fn longest(sequences: &[&TrainSequence], bin: &[usize]) -> usize {
    bin.iter().map(|index| sequences[*index].input.ids.len()).max().unwrap_or(0)
}

/// Fills one micro-batch after the other.
fn pack(sequences: &[&TrainSequence], order: &[usize], tokens: u64) -> Vec<Vec<usize>> {
    let mut out: Vec<Vec<usize>> = Vec::new();
    let mut widest = 0;
    for index in order {
        let length = sequences[*index].input.ids.len();
        let fits = out.last().is_some_and(|bin| ((bin.len() + 1) * length.max(widest)) as u64 <= tokens);
        match out.last_mut() {
            Some(bin) if fits => {
                widest = widest.max(length);
                bin.push(*index);
            }
            _ => {
                widest = length;
                out.push(vec![*index]);
            }
        }
    }
    out
}

/// Padded tokens plus the patches of the distinct images.
fn work(sequences: &[&TrainSequence], bin: &[usize]) -> usize {
    let mut images: Vec<&Arc<ImagePatches>> = Vec::new();
    for image in bin.iter().flat_map(|index| &sequences[*index].input.images) {
        if !images.iter().rev().any(|known| Arc::ptr_eq(known, image)) {
            images.push(image);
        }
    }
    bin.len() * longest(sequences, bin) + images.iter().map(|image| image.grid.patches()).sum::<usize>()
}

/// Do two sequences have the same prompt, with these images?
pub(super) fn share_prompt(
    a: &TrainSequence,
    images_of_a: &[Arc<ImagePatches>],
    b: &TrainSequence,
    images_of_b: &[Arc<ImagePatches>],
) -> bool {
    same_images(images_of_a, images_of_b) && a.input.ids[..a.prompt_len] == b.input.ids[..b.prompt_len]
}

fn same_images(a: &[Arc<ImagePatches>], b: &[Arc<ImagePatches>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Indices of the sequences of each micro-batch where sequences share their prompt: at most `tokens` tokens each, a
/// prompt counted once (a longer sequence gets one of its own), and at least one for each of `threads`, all of about
/// the same size.
///
/// Groups stay whole where they fit: a group that is split computes its prompt in every part. The largest parts are
/// dealt out first, each to the micro-batch that has the least, so the split depends on sequences and threads only.
pub fn shared_micro_batches(sequences: &[&TrainSequence], tokens: u64, threads: usize) -> Vec<Vec<usize>> {
    let groups = by_prompt(sequences);
    let parts_each = threads.div_ceil(groups.len().max(1));
    let mut parts: Vec<Vec<usize>> =
        groups.iter().flat_map(|group| split(sequences, group, tokens, parts_each)).collect();
    parts.sort_by_key(|part| std::cmp::Reverse(shared_tokens(sequences, part)));
    let total: u64 = parts.iter().map(|part| shared_tokens(sequences, part)).sum();
    let wanted = total.div_ceil(tokens.max(1)) as usize;
    let count = wanted.next_multiple_of(threads.max(1)).min(parts.len());
    let mut bins: Vec<(u64, Vec<usize>)> = vec![(0, Vec::new()); count];
    for part in parts {
        let size = shared_tokens(sequences, &part);
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

/// Indices of the sequences of each micro-batch where every group is on its own: as few micro-batches as the limit
/// allows.
pub(super) fn group_micro_batches(sequences: &[&TrainSequence], tokens: u64) -> Vec<Vec<usize>> {
    by_prompt(sequences).iter().flat_map(|group| split(sequences, group, tokens, 1)).collect()
}

/// Neighbouring sequences of one prompt.
pub(super) fn by_prompt(sequences: &[&TrainSequence]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, sequence) in sequences.iter().enumerate() {
        let alike = |group: &&mut Vec<usize>| {
            let first = sequences[group[0]];
            share_prompt(first, &first.input.images, sequence, &sequence.input.images)
                && same_images(first.masked_or_own(), sequence.masked_or_own())
        };
        match groups.last_mut().filter(alike) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups
}

/// A group in at least `parts` parts of about the same size, if it has that many sequences; none above the limit.
fn split(sequences: &[&TrainSequence], group: &[usize], tokens: u64, parts: usize) -> Vec<Vec<usize>> {
    let prompt = sequences[group[0]].prompt_len as u64;
    let responses = shared_tokens(sequences, group) - prompt;
    let room = responses.div_ceil(parts.max(1) as u64).min(tokens.saturating_sub(prompt));
    let (mut out, mut size): (Vec<Vec<usize>>, u64) = (Vec::new(), 0);
    for index in group {
        let own = sequences[*index].response_len() as u64;
        match out.last_mut() {
            Some(part) if size + own <= room => {
                size += own;
                part.push(*index);
            }
            _ => {
                size = own;
                out.push(vec![*index]);
            }
        }
    }
    out
}

/// Tokens of sequences of one prompt, the prompt counted once.
fn shared_tokens(sequences: &[&TrainSequence], part: &[usize]) -> u64 {
    let prompt = part.first().map_or(0, |index| sequences[*index].prompt_len);
    (prompt + part.iter().map(|index| sequences[*index].response_len()).sum::<usize>()) as u64
}
