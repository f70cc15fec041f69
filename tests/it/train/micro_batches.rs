//! How sequences are split into micro-batches.

use std::sync::Arc;

use proptest::prelude::*;
use vgpo::model::{Grid, ImagePatches, Sequence};
use vgpo::train::micro_batch::{micro_batches, padding_share, shared_micro_batches};
use vgpo::train::train_sequence::TrainSequence;

fn sequence(length: usize, images: Vec<Arc<ImagePatches>>) -> TrainSequence {
    TrainSequence { input: Sequence { ids: vec![1; length], images }, prompt_len: 1, ..TrainSequence::default() }
}

fn image(side: usize) -> Arc<ImagePatches> {
    Arc::new(ImagePatches { values: Vec::new(), grid: Grid { time: 1, height: side, width: side } })
}

fn padded(sequences: &[&TrainSequence], bins: &[Vec<usize>]) -> usize {
    let longest = |bin: &Vec<usize>| bin.iter().map(|index| sequences[*index].input.ids.len()).max().unwrap();
    bins.iter().map(|bin| bin.len() * longest(bin)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sequence_is_in_one_bin_within_the_limit(
        groups in prop::collection::vec((1_usize..9, prop::collection::vec(1_usize..300, 1..9)), 1..12),
        tokens in 1_u64..3000,
    ) {
        let sequences: Vec<TrainSequence> = groups
            .iter()
            .flat_map(|(side, lengths)| {
                let image = image(2 * side);
                lengths.iter().map(move |length| sequence(*length, vec![Arc::clone(&image)]))
            })
            .collect();
        let sequences: Vec<&TrainSequence> = sequences.iter().collect();
        let bins = micro_batches(&sequences, tokens);
        let mut seen: Vec<usize> = bins.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..sequences.len()).collect::<Vec<_>>());
        for bin in &bins {
            prop_assert!(bin.len() == 1 || padded(&sequences, std::slice::from_ref(bin)) as u64 <= tokens);
        }
        let real: usize = sequences.iter().map(|sequence| sequence.input.ids.len()).sum();
        let share = padding_share(&sequences, &bins);
        prop_assert!((share - (1.0 - real as f64 / padded(&sequences, &bins) as f64)).abs() < 1e-12);
        prop_assert_eq!(micro_batches(&sequences, tokens), bins);
    }
}

/// Long and short responses alternate: sorted by length there is no padding, in their own order it is almost half.
#[test]
fn text_sequences_are_batched_by_length() {
    let sequences: Vec<TrainSequence> =
        (0..32).map(|i| sequence(if i % 2 == 0 { 10 } else { 200 }, Vec::new())).collect();
    let sequences: Vec<&TrainSequence> = sequences.iter().collect();
    let bins = micro_batches(&sequences, 800);
    assert_eq!(padding_share(&sequences, &bins), 0.0);
}

/// A large image costs more than a little padding: the sequences of its group stay together and it is encoded once.
#[test]
fn sequences_that_share_a_large_image_stay_together() {
    let images = [image(20), image(20), image(20), image(20)];
    let sequences: Vec<TrainSequence> =
        (0..16).map(|i| sequence(100 + (i * 7) % 16, vec![Arc::clone(&images[i / 4])])).collect();
    let sequences: Vec<&TrainSequence> = sequences.iter().collect();
    let bins = micro_batches(&sequences, 500);
    assert_eq!(bins.len(), 4);
    for bin in &bins {
        assert!(bin.iter().all(|index| index / 4 == bin[0] / 4), "{bins:?}");
    }
}

/// Tokens of a bin whose sequences hold the prompt of their group once.
fn shared(sequences: &[&TrainSequence], bin: &[usize]) -> usize {
    let image = |index: usize| sequences[index].input.images[0].as_ref() as *const ImagePatches;
    let prompts: std::collections::BTreeMap<_, usize> =
        bin.iter().map(|index| (image(*index), sequences[*index].prompt_len)).collect();
    prompts.values().sum::<usize>() + bin.iter().map(|index| sequences[*index].response_len()).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences_that_share_prompts_are_in_one_bin_within_the_limit(
        groups in prop::collection::vec((1_usize..50, prop::collection::vec(0_usize..300, 1..9)), 1..12),
        tokens in 1_u64..3000,
        threads in 1_usize..5,
    ) {
        let sequence = |prompt: usize, response: usize, image: &Arc<ImagePatches>| TrainSequence {
            input: Sequence { ids: vec![1; prompt + response], images: vec![Arc::clone(image)] },
            prompt_len: prompt,
            ..TrainSequence::default()
        };
        let sequences: Vec<TrainSequence> = groups
            .iter()
            .flat_map(|(prompt, lengths)| {
                let image = image(2);
                lengths.iter().map(move |length| sequence(*prompt, *length, &image)).collect::<Vec<_>>()
            })
            .collect();
        let sequences: Vec<&TrainSequence> = sequences.iter().collect();
        let bins = shared_micro_batches(&sequences, tokens, threads);
        let mut seen: Vec<usize> = bins.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..sequences.len()).collect::<Vec<_>>());
        for bin in &bins {
            prop_assert!(bin.len() == 1 || shared(&sequences, bin) as u64 <= tokens, "{} tokens",
                shared(&sequences, bin));
        }
        let divisible = sequences.iter().filter(|sequence| sequence.response_len() > 0).count() > 1;
        prop_assert!(bins.len() > 1 || threads == 1 || !divisible);
        prop_assert_eq!(shared_micro_batches(&sequences, tokens, threads), bins);
    }
}

/// What reinforcement learning trains on: whole groups, equally many for each thread.
#[test]
fn whole_groups_are_dealt_out_evenly() {
    let images = [(); 4].map(|()| image(8));
    let sequences: Vec<TrainSequence> =
        (0..32).map(|i| TrainSequence { prompt_len: 40, ..sequence(104, vec![Arc::clone(&images[i / 8])]) }).collect();
    let sequences: Vec<&TrainSequence> = sequences.iter().collect();
    let bins = shared_micro_batches(&sequences, 4096, 2);
    assert_eq!(bins.iter().map(|bin| shared(&sequences, bin)).collect::<Vec<_>>(), [1104, 1104]);
    let one_group = shared_micro_batches(&sequences[..8], 4096, 2);
    assert_eq!(one_group.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
}
