//! How rows are cut into micro-batches.

use std::sync::Arc;

use proptest::prelude::*;
use vgpo::model::{Grid, ImagePatches, Sequence};
use vgpo::train::learner::TrainRow;
use vgpo::train::micro_batch::{micro_batches, padding_share};

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
