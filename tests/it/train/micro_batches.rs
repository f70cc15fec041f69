//! How rows are cut into micro-batches.

use std::sync::Arc;

use proptest::prelude::*;
use vgpo::model::{Grid, ImagePatches, Sequence};
use vgpo::train::micro_batch::{micro_batches, padding_share, shared_micro_batches};
use vgpo::train::train_row::TrainRow;

fn row(length: usize, images: Vec<Arc<ImagePatches>>) -> TrainRow {
    TrainRow { sequence: Sequence { ids: vec![1; length], images }, prompt_len: 1, ..TrainRow::default() }
}

fn image(side: usize) -> Arc<ImagePatches> {
    Arc::new(ImagePatches { values: Vec::new(), grid: Grid { time: 1, height: side, width: side } })
}

fn padded(rows: &[&TrainRow], bins: &[Vec<usize>]) -> usize {
    let longest = |bin: &Vec<usize>| bin.iter().map(|row| rows[*row].sequence.ids.len()).max().unwrap();
    bins.iter().map(|bin| bin.len() * longest(bin)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_stands_in_one_bin_within_the_limit(
        groups in prop::collection::vec((1_usize..9, prop::collection::vec(1_usize..300, 1..9)), 1..12),
        tokens in 1_u64..3000,
    ) {
        let rows: Vec<TrainRow> = groups
            .iter()
            .flat_map(|(side, lengths)| {
                let image = image(2 * side);
                lengths.iter().map(move |length| row(*length, vec![Arc::clone(&image)]))
            })
            .collect();
        let rows: Vec<&TrainRow> = rows.iter().collect();
        let bins = micro_batches(&rows, tokens);
        let mut seen: Vec<usize> = bins.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..rows.len()).collect::<Vec<_>>());
        for bin in &bins {
            prop_assert!(bin.len() == 1 || padded(&rows, std::slice::from_ref(bin)) as u64 <= tokens);
        }
        let real: usize = rows.iter().map(|row| row.sequence.ids.len()).sum();
        let share = padding_share(&rows, &bins);
        prop_assert!((share - (1.0 - real as f64 / padded(&rows, &bins) as f64)).abs() < 1e-12);
        prop_assert_eq!(micro_batches(&rows, tokens), bins);
    }
}

/// Long and short responses alternate: by length they waste nothing, as they are they waste almost half.
#[test]
fn text_rows_are_cut_by_length() {
    let rows: Vec<TrainRow> = (0..32).map(|i| row(if i % 2 == 0 { 10 } else { 200 }, Vec::new())).collect();
    let rows: Vec<&TrainRow> = rows.iter().collect();
    let bins = micro_batches(&rows, 800);
    assert_eq!(padding_share(&rows, &bins), 0.0);
}

/// A large image costs more than a little padding: the rows of its group stay together and it is encoded once.
#[test]
fn rows_that_share_a_large_image_stay_together() {
    let images = [image(20), image(20), image(20), image(20)];
    let rows: Vec<TrainRow> = (0..16).map(|i| row(100 + (i * 7) % 16, vec![Arc::clone(&images[i / 4])])).collect();
    let rows: Vec<&TrainRow> = rows.iter().collect();
    let bins = micro_batches(&rows, 500);
    assert_eq!(bins.len(), 4);
    for bin in &bins {
        assert!(bin.iter().all(|row| row / 4 == bin[0] / 4), "{bins:?}");
    }
}

/// Tokens of a bin whose rows read the prompt of their group once.
fn shared(rows: &[&TrainRow], bin: &[usize]) -> usize {
    let image = |row: usize| rows[row].sequence.images[0].as_ref() as *const ImagePatches;
    let prompts: std::collections::BTreeMap<_, usize> =
        bin.iter().map(|row| (image(*row), rows[*row].prompt_len)).collect();
    prompts.values().sum::<usize>() + bin.iter().map(|row| rows[*row].response_len()).sum::<usize>()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_that_share_prompts_stand_in_one_bin_within_the_limit(
        groups in prop::collection::vec((1_usize..50, prop::collection::vec(0_usize..300, 1..9)), 1..12),
        tokens in 1_u64..3000,
        threads in 1_usize..5,
    ) {
        let row = |prompt: usize, response: usize, image: &Arc<ImagePatches>| TrainRow {
            sequence: Sequence { ids: vec![1; prompt + response], images: vec![Arc::clone(image)] },
            prompt_len: prompt,
            ..TrainRow::default()
        };
        let rows: Vec<TrainRow> = groups
            .iter()
            .flat_map(|(prompt, lengths)| {
                let image = image(2);
                lengths.iter().map(move |length| row(*prompt, *length, &image)).collect::<Vec<_>>()
            })
            .collect();
        let rows: Vec<&TrainRow> = rows.iter().collect();
        let bins = shared_micro_batches(&rows, tokens, threads);
        let mut seen: Vec<usize> = bins.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..rows.len()).collect::<Vec<_>>());
        for bin in &bins {
            prop_assert!(bin.len() == 1 || shared(&rows, bin) as u64 <= tokens, "{} tokens", shared(&rows, bin));
        }
        let divisible = rows.iter().filter(|row| row.response_len() > 0).count() > 1;
        prop_assert!(bins.len() > 1 || threads == 1 || !divisible);
        prop_assert_eq!(shared_micro_batches(&rows, tokens, threads), bins);
    }
}

/// What reinforcement learning updates on: whole groups, as many to each thread.
#[test]
fn whole_groups_are_dealt_out_evenly() {
    let images = [(); 4].map(|()| image(8));
    let rows: Vec<TrainRow> =
        (0..32).map(|i| TrainRow { prompt_len: 40, ..row(104, vec![Arc::clone(&images[i / 8])]) }).collect();
    let rows: Vec<&TrainRow> = rows.iter().collect();
    let bins = shared_micro_batches(&rows, 4096, 2);
    assert_eq!(bins.iter().map(|bin| shared(&rows, bin)).collect::<Vec<_>>(), [1104, 1104]);
    let one_group = shared_micro_batches(&rows[..8], 4096, 2);
    assert_eq!(one_group.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4]);
}
