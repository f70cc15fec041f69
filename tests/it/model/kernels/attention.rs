use candle_core::{Device, Tensor};
use proptest::prelude::*;
use vgpo::model::kernels::{self, AttentionMask, Form, Rope, Suffix, forms};

use super::{agree, difference, laid_out, values};

fn rope(rows: usize, seq_len: usize, half: usize) -> Rope {
    let angles = values(7, &[rows, seq_len, half]);
    Rope::new(&angles.cos().unwrap(), &angles.sin().unwrap()).unwrap()
}

#[derive(Debug, Clone)]
struct Case {
    rows: usize,
    queries: usize,
    kv_heads: usize,
    group: usize,
    half: usize,
    layout: u8,
    rotated: bool,
    /// Padding of each row, or bounds between which all see all.
    padding: Option<Vec<usize>>,
    bounds: Vec<usize>,
}

impl Case {
    fn mask(&self) -> AttentionMask {
        match &self.padding {
            Some(padding) => AttentionMask::causal(0, padding.clone()),
            None => AttentionMask::within(self.bounds.clone()),
        }
    }

    fn shapes(&self) -> [Vec<usize>; 2] {
        [self.kv_heads * self.group, self.kv_heads].map(|heads| vec![self.rows, self.queries, heads, 2 * self.half])
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..4, 1_usize..80, 1_usize..3, 1_usize..4, 1_usize..20);
    (sizes, 0_u8..3, any::<bool>(), any::<bool>(), any::<u64>()).prop_map(
        |((rows, queries, kv_heads, group, half), layout, rotated, causal, chance)| {
            let at = |i: usize| (chance >> (8 * i)) as usize % queries;
            let mut bounds = vec![0, at(0), at(1), queries];
            bounds.sort_unstable();
            bounds.dedup();
            let padding = causal.then(|| (0..rows).map(at).collect());
            Case { rows, queries, kv_heads, group, half, layout, rotated, padding, bounds }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn fused_attention_equals_composed(case in cases()) {
        let [q, k] = case.shapes();
        let rope = rope(case.rows, case.queries, case.half);
        let rope = case.rotated.then_some(&rope);
        let mask = case.mask();
        let run = |form| {
            let mask = &mask;
            move |x: &[Tensor]| Ok(forms::attention(form, &x[0], &x[1], &x[2], rope, mask, None)?.mixed)
        };
        agree(&[&q, &k, &k], case.layout, run(Form::Fused), run(Form::Composed));
    }

    #[test]
    fn kept_probabilities_equal_those_of_the_composed_form(case in cases(), from in 0_usize..80) {
        let [q, k] = case.shapes().map(|shape| values(3, &shape));
        let mask = case.mask();
        let run = |form| forms::attention(form, &q, &k, &k, None, &mask, Some(from)).unwrap().probabilities.unwrap();
        let (fused, composed) = (run(Form::Fused), run(Form::Composed));
        prop_assert_eq!(fused.dims(), composed.dims());
        if fused.elem_count() > 0 {
            prop_assert!(difference(&fused, &composed) < 1e-5);
            let sums: Vec<f32> = fused.sum(3).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            prop_assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-5));
        }
    }

    #[test]
    fn fused_rotation_equals_composed(case in cases()) {
        let [q, _] = case.shapes();
        let rope = rope(1, case.queries, case.half);
        let run = |form| { let rope = &rope; move |x: &[Tensor]| forms::rotate(form, &x[0], rope) };
        agree(&[&q], case.layout, run(Form::Fused), run(Form::Composed));
    }
}

/// Two prompts with responses of many lengths behind them, in one row.
fn forest() -> (usize, AttentionMask) {
    let (mut at, mut suffixes) = (0, Vec::new());
    for (prompt, responses) in [(5, vec![1, 40, 3]), (37, vec![2, 64]), (4, vec![])] {
        let prefix = at..at + prompt;
        suffixes.push(Suffix { prefix: 0..0, own: prefix.clone() });
        at = prefix.end;
        for length in responses {
            suffixes.push(Suffix { prefix: prefix.clone(), own: at..at + length });
            at += length;
        }
    }
    (at, AttentionMask::suffixes(suffixes))
}

#[test]
fn responses_behind_a_shared_prompt_equal_composed_attention() {
    let (seq_len, mask) = forest();
    let rope = rope(1, seq_len, 8);
    for (layout, group) in [(0, 1), (1, 2), (2, 3)] {
        let (q, k) = ([1, seq_len, 2 * group, 16], [1, seq_len, 2, 16]);
        let run = |form| {
            let (mask, rope) = (&mask, &rope);
            move |x: &[Tensor]| Ok(forms::attention(form, &x[0], &x[1], &x[2], Some(rope), mask, None)?.mixed)
        };
        agree(&[&q, &k, &k], layout, run(Form::Fused), run(Form::Composed));
        let [q, k] = [&q, &k].map(|shape| values(3, shape));
        let kept = |form| forms::attention(form, &q, &k, &k, None, &mask, Some(3)).unwrap().probabilities.unwrap();
        assert!(difference(&kept(Form::Fused), &kept(Form::Composed)) < 1e-5);
    }
}

/// Over a cache: one query per row behind cached keys that lie in a larger tensor, heads before positions.
#[test]
fn a_decode_step_equals_the_last_query_of_a_whole_pass() {
    let (rows, seq_len, heads, kv_heads, dim) = (3, 37, 6, 2, 16);
    let q = values(1, &[rows, seq_len, heads, dim]);
    let cache = |seed| {
        let all = values(seed, &[rows, kv_heads, 50, dim]);
        all.narrow(2, 0, seq_len).unwrap().transpose(1, 2).unwrap()
    };
    let (k, v) = (cache(2), cache(3));
    let padding = vec![0, 4, 36];
    let whole = kernels::attention(&q, &k, &v, None, &AttentionMask::causal(0, padding.clone()), None).unwrap().mixed;
    let newest = q.narrow(1, seq_len - 1, 1).unwrap();
    for form in [Form::Fused, Form::Composed] {
        let mask = AttentionMask::causal(seq_len - 1, padding.clone());
        let step = forms::attention(form, &newest, &k, &v, None, &mask, Some(0)).unwrap();
        assert!(difference(&step.mixed, &whole.narrow(1, seq_len - 1, 1).unwrap()) < 1e-5);
        let seen = step.probabilities.unwrap();
        assert_eq!(seen.dims(), [rows, heads, 1, seq_len]);
        let hidden: Vec<f32> = seen.get(1).unwrap().narrow(2, 0, 4).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        assert!(hidden.iter().all(|p| *p == 0.0), "padding is never seen");
    }
}

#[test]
fn gradients_are_the_same_bits_on_one_thread_and_on_many() {
    let shape = [6, 70, 4, 32];
    let once = || {
        let vars: Vec<candle_core::Var> =
            (0..3).map(|i| candle_core::Var::from_tensor(&values(i, &shape)).unwrap()).collect();
        let x: Vec<Tensor> = vars.iter().map(|v| laid_out(v, 0)).collect();
        let rope = rope(6, 70, 16);
        let mask = AttentionMask::causal(0, vec![0, 1, 2, 3, 4, 5]);
        let y = forms::attention(Form::Fused, &x[0], &x[1], &x[2], Some(&rope), &mask, None).unwrap().mixed;
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        vars.iter().map(|v| super::super::flat(store.get(v).unwrap())).collect::<Vec<_>>()
    };
    let pool = |n| rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
    let (one, three) = (pool(1).install(once), pool(3).install(once));
    assert!(one == three);
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let x = |dims: [usize; 4]| Tensor::zeros(&dims, candle_core::DType::F32, &Device::Cpu).unwrap();
    let causal = AttentionMask::causal(0, vec![0]);
    let bad = |q: [usize; 4], k: [usize; 4], mask: &AttentionMask| {
        kernels::attention(&x(q), &x(k), &x(k), None, mask, None).unwrap_err().to_string()
    };
    assert!(bad([1, 4, 3, 8], [1, 4, 2, 8], &causal).contains("cannot attend"));
    assert!(bad([1, 4, 2, 8], [1, 5, 2, 8], &causal).contains("do not fit the attention mask"));
    assert!(
        bad([1, 4, 2, 8], [1, 4, 2, 8], &AttentionMask::within(vec![0, 9])).contains("do not fit the attention mask")
    );
    let suffix = |prefix, own| AttentionMask::suffixes(vec![Suffix { prefix, own }]);
    for suffixes in [suffix(0..0, 0..3), suffix(0..1, 0..4), suffix(0..0, 1..4)] {
        assert!(bad([1, 4, 2, 8], [1, 4, 2, 8], &suffixes).contains("do not fit the attention mask"));
    }
    let error = kernels::rotate(&x([1, 4, 2, 8]), &rope(1, 5, 4)).unwrap_err().to_string();
    assert!(error.contains("rotary table"), "{error}");
}
