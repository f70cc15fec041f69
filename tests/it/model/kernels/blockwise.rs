//! Attention in blocks equals dense attention, which is written down here, in value, gradient and probabilities.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;
use vgpo::model::kernels::forms::{self, BlockSides};
use vgpo::model::kernels::{AttentionMask, MASKED, Rope, Suffix, softmax};

use super::{agree, difference, values};

/// Which keys a query sees.
#[derive(Debug, Clone)]
enum Rule {
    Causal { cached: usize, padding: Vec<usize> },
    Within(Vec<usize>),
    Suffixes(Vec<Suffix>),
}

impl Rule {
    fn mask(&self) -> AttentionMask {
        match self.clone() {
            Self::Causal { cached, padding } => AttentionMask::causal(cached, padding),
            Self::Within(bounds) => AttentionMask::within(bounds),
            Self::Suffixes(suffixes) => AttentionMask::suffixes(suffixes),
        }
    }

    /// The definition, pair by pair.
    fn sees(&self, row: usize, query: usize, key: usize) -> bool {
        match self {
            Self::Causal { cached, padding } => {
                let own = cached + query;
                key == own || (key < own && key >= padding[row])
            }
            Self::Within(bounds) => {
                bounds.windows(2).any(|b| (b[0]..b[1]).contains(&query) && (b[0]..b[1]).contains(&key))
            }
            Self::Suffixes(suffixes) => suffixes
                .iter()
                .filter(|suffix| suffix.own.contains(&query))
                .any(|suffix| suffix.prefix.contains(&key) || (suffix.own.start..=query).contains(&key)),
        }
    }

    /// `[batch, 1, queries, keys]`.
    fn dense(&self, rows: usize, queries: usize, keys: usize) -> Tensor {
        let at = |i: usize| self.sees(i / (queries * keys), i / keys % queries, i % keys);
        let values: Vec<f32> = (0..rows * queries * keys).map(|i| if at(i) { 0.0 } else { MASKED }).collect();
        Tensor::from_vec(values, (rows, 1, queries, keys), &Device::Cpu).unwrap()
    }
}

/// Mixed values and probabilities by the definition; candle differentiates it.
fn dense(x: &[Tensor], rope: Option<&Rope>, rule: &Rule) -> Result<(Tensor, Tensor)> {
    let (rows, queries, heads, dim) = x[0].dims4()?;
    let (_, keys, kv_heads, _) = x[1].dims4()?;
    let rotated = |x: &Tensor| {
        let Some(rope) = rope else { return Ok(x.clone()) };
        let (cos, sin) = rope.tables();
        let (cos, sin) = (cos.unsqueeze(2)?, sin.unsqueeze(2)?);
        let (a, b) = (x.narrow(3, 0, dim / 2)?, x.narrow(3, dim / 2, dim / 2)?);
        let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
        Tensor::cat(&[first, (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?], 3)
    };
    // [batch, heads, seq_len, dim], each key head once for every query head of its group
    let of_keys = |x: &Tensor| {
        let shape = (rows, kv_heads, heads / kv_heads, keys, dim);
        x.transpose(1, 2)?.unsqueeze(2)?.broadcast_as(shape)?.reshape((rows, heads, keys, dim))
    };
    let (q, k) = (rotated(&x[0])?.transpose(1, 2)?.contiguous()?, of_keys(&rotated(&x[1])?)?);
    let scores = (q.matmul(&k.transpose(2, 3)?.contiguous()?)? / (dim as f64).sqrt())?;
    let shares = softmax(&scores.broadcast_add(&rule.dense(rows, queries, keys))?)?;
    let mixed = shares.matmul(&of_keys(&x[2])?)?.transpose(1, 2)?.reshape((rows, queries, heads * dim))?;
    Ok((mixed, shares))
}

#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    queries: usize,
    keys: usize,
    kv_heads: usize,
    group: usize,
    half: usize,
    layout: u8,
    rotated: bool,
    rule: Rule,
    sides: BlockSides,
}

impl Case {
    fn shapes(&self) -> [Vec<usize>; 2] {
        let dim = 2 * self.half;
        [vec![self.rows, self.queries, self.kv_heads * self.group, dim], vec![self.rows, self.keys, self.kv_heads, dim]]
    }

    fn rope(&self) -> Option<Rope> {
        let angles = values(7, &[self.rows, self.queries, self.half]);
        let rope = || Rope::new(&angles.cos().unwrap(), &angles.sin().unwrap()).unwrap();
        (self.rotated && self.queries == self.keys).then(rope)
    }
}

/// Prompts with responses of these lengths, in one row.
fn forest(trees: &[(usize, Vec<usize>)]) -> (usize, Vec<Suffix>) {
    let (mut at, mut suffixes) = (0, Vec::new());
    let mut next = |prefix: Range<usize>, length: usize| {
        suffixes.push(Suffix { prefix, own: at..at + length });
        at += length;
        at - length..at
    };
    for (prompt, responses) in trees {
        let prefix = next(0..0, *prompt);
        for length in responses {
            next(prefix.clone(), *length);
        }
    }
    (at, suffixes)
}

fn rules() -> impl Strategy<Value = (usize, usize, usize, Rule)> {
    let causal =
        (1_usize..4, 1_usize..70, prop_oneof![Just(0), 1_usize..60]).prop_flat_map(|(rows, queries, cached)| {
            prop::collection::vec(0..queries + cached, rows)
                .prop_map(move |padding| (rows, queries, queries + cached, Rule::Causal { cached, padding }))
        });
    let within = (1_usize..3, prop::collection::vec(1_usize..30, 1..6)).prop_map(|(rows, windows)| {
        let mut bounds = vec![0];
        windows.iter().for_each(|width| bounds.push(bounds[bounds.len() - 1] + width));
        let count = bounds[bounds.len() - 1];
        (rows, count, count, Rule::Within(bounds))
    });
    let trees = prop::collection::vec((1_usize..20, prop::collection::vec(1_usize..30, 0..4)), 1..4);
    let packed = trees.prop_map(|trees| {
        let (count, suffixes) = forest(&trees);
        (1, count, count, Rule::Suffixes(suffixes))
    });
    prop_oneof![causal, within, packed]
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..3, 1_usize..4, 1_usize..12, 0_u8..3, any::<bool>());
    (rules(), sizes, 1_usize..40, 1_usize..40).prop_map(
        |((rows, queries, keys, rule), (kv_heads, group, half, layout, rotated), of_queries, of_keys)| Case {
            rows,
            queries,
            keys,
            kv_heads,
            group,
            half,
            layout,
            rotated,
            rule,
            sides: BlockSides { queries: of_queries, keys: of_keys },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attention_in_blocks_equals_dense_attention(case in cases()) {
        let [q, k] = case.shapes();
        let (rope, mask) = (case.rope(), case.rule.mask());
        agree(
            &[&q, &k, &k],
            case.layout,
            |x| Ok(forms::attention_in_blocks(case.sides, [&x[0], &x[1], &x[2]], rope.as_ref(), &mask, None)?.mixed),
            |x| Ok(dense(x, rope.as_ref(), &case.rule)?.0),
        );
    }

    #[test]
    fn probabilities_over_blocks_are_those_of_dense_attention(case in cases(), from in 0_usize..90) {
        let shapes = case.shapes();
        let x: Vec<Tensor> = [0, 1, 1].iter().enumerate().map(|(i, s)| values(i as u64, &shapes[*s])).collect();
        let (rope, mask) = (case.rope(), case.rule.mask());
        let seen = forms::attention_in_blocks(case.sides, [&x[0], &x[1], &x[2]], rope.as_ref(), &mask, Some(from));
        let from = from.min(case.queries);
        let wanted = dense(&x, rope.as_ref(), &case.rule).unwrap().1.narrow(2, from, case.queries - from).unwrap();
        let found = seen.unwrap().probabilities.unwrap();
        prop_assert_eq!(found.dims(), wanted.dims());
        if found.elem_count() > 0 {
            prop_assert!(difference(&found, &wanted) < 1e-5);
        }
    }
}

/// Bytes of every tensor that the backward pass of `y` can reach.
fn held(y: &Tensor) -> usize {
    y.sorted_nodes().iter().map(|x| x.elem_count() * x.dtype().size_in_bytes()).sum()
}

/// What is kept grows with the length; the dense form keeps several planes of pairs.
#[test]
fn what_is_kept_is_linear_in_the_length() {
    let kept = |count: usize| {
        let vars: Vec<candle_core::Var> =
            (0..3).map(|i| candle_core::Var::from_tensor(&values(i, &[1, count, 2, 8])).unwrap()).collect();
        let x: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let rule = Rule::Causal { cached: 0, padding: vec![0] };
        let sides = BlockSides { queries: 32, keys: 32 };
        let mask = rule.mask();
        let blocks = forms::attention_in_blocks(sides, [&x[0], &x[1], &x[2]], None, &mask, None).unwrap().mixed;
        (held(&blocks), held(&dense(&x, None, &rule).unwrap().0))
    };
    let ((short, short_dense), (long, long_dense)) = (kept(64), kept(256));
    assert_eq!(long, 4 * short);
    assert!(long_dense > 8 * short_dense, "{short_dense} {long_dense}");
    assert_eq!(long, 4 * 256 * 16 * 4, "queries, keys, values and the result");
}

/// A cache in 16 bits is widened block by block.
#[test]
fn keys_and_values_may_be_narrower_than_queries() {
    let (q, k) = (values(1, &[2, 1, 4, 16]), values(2, &[2, 2, 50, 16]));
    let narrow = k.to_dtype(candle_core::DType::BF16).unwrap();
    let view = |x: &Tensor| x.narrow(2, 0, 37).unwrap().transpose(1, 2).unwrap();
    let mask = AttentionMask::causal(36, vec![0, 5]);
    let sides = BlockSides { queries: 1, keys: 16 };
    let run = |k: &Tensor| forms::attention_in_blocks(sides, [&q, k, k], None, &mask, None).unwrap().mixed;
    let wide = narrow.to_dtype(candle_core::DType::F32).unwrap();
    assert_eq!(difference(&run(&view(&narrow)), &run(&view(&wide))), 0.0);
    assert!(difference(&run(&view(&narrow)), &run(&view(&k))) < 2e-2);
}
