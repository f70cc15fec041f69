//! Sampling: draws belong to the row, not to the batch.

use vgpo::model::sampler::stream;
use vgpo::model::{Sequence, View};
use vgpo::train::parallel::Pool;
use vgpo::train::rollout::{Rollout, RolloutSettings, rollout};

use super::{open_starter, prompts, spec};

const SETTINGS: RolloutSettings = RolloutSettings {
    group_size: 3,
    temperature: 1.0,
    top_p: 1.0,
    max_new_tokens: 40,
    attention: true,
    similarity: true,
};

fn sample(rows: std::ops::Range<u64>, settings: &RolloutSettings) -> Vec<Vec<Rollout>> {
    let folder = open_starter();
    let model = folder.model(View::Detached).unwrap();
    let first = rows.start;
    let (prompts, _) = prompts(model.info(), &spec(&serde_json::json!({})), rows);
    let sequences: Vec<&Sequence> = prompts.iter().map(|p| &p.sequence).collect();
    rollout(&Pool::new().unwrap(), model.as_ref(), &sequences, settings, |prompt, i| {
        stream(&[9, first + prompt as u64, i as u64])
    })
    .unwrap()
}

#[test]
fn a_row_draws_the_same_alone_and_in_a_batch() {
    let together = sample(0..8, &SETTINGS);
    for (row, group) in together.iter().enumerate() {
        let alone = sample(row as u64..row as u64 + 1, &SETTINGS);
        for (a, b) in alone[0].iter().zip(group) {
            assert_eq!(a.tokens, b.tokens, "row {row}");
            for (x, y) in a.similarity.iter().zip(&b.similarity) {
                assert!((x - y).abs() < 1e-4);
            }
            for (x, y) in a.attention.iter().zip(&b.attention) {
                assert!((x.image - y.image).abs() < 1e-4);
            }
        }
    }
    let texts: std::collections::HashSet<&[u32]> = together.iter().flatten().map(|r| r.tokens.as_slice()).collect();
    assert!(texts.len() > 8, "responses at temperature 1 must differ");
}

#[test]
fn every_token_has_its_numbers_and_shares_sum_to_one() {
    for response in sample(0..4, &SETTINGS).iter().flatten() {
        assert_eq!(response.attention.len(), response.tokens.len());
        assert_eq!(response.similarity.len(), response.tokens.len());
        for (t, shares) in response.attention.iter().enumerate() {
            let sum = shares.image + shares.query + shares.generated;
            assert!((sum - 1.0).abs() < 1e-4, "{sum}");
            assert!(shares.image > 0.0 && shares.query > 0.0);
            assert_eq!(shares.generated > 0.0, t > 0, "the first token has no response behind it");
        }
    }
}

#[test]
fn the_length_limit_cuts_and_says_so() {
    let short = sample(0..4, &RolloutSettings { max_new_tokens: 3, ..SETTINGS });
    let long = sample(0..4, &SETTINGS);
    for (a, b) in short.iter().flatten().zip(long.iter().flatten()) {
        assert_eq!(a.tokens[..], b.tokens[..3]);
        assert!(a.cut_off);
    }
    assert!(long.iter().flatten().any(|r| !r.cut_off), "the starter ends its answers");
}

#[test]
fn greedy_rows_ignore_their_stream() {
    let greedy = RolloutSettings { temperature: 0.0, ..SETTINGS };
    for group in sample(0..3, &greedy) {
        assert!(group.iter().all(|r| r.tokens == group[0].tokens));
    }
}
