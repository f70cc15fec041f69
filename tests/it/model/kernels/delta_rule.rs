//! The methods of the gated delta rule against each other, and what holds for all of them.

use candle_core::{Device, Tensor, Var};
use vgpo::model::kernels::forms::{self, DeltaInputs, DeltaMethod};
use vgpo::model::kernels::{self, DeltaHeads, Form, Segment, Segments, Start, Suffix};

use super::{difference, values};

pub const METHODS: [DeltaMethod; 3] =
    [DeltaMethod::Recurrent, DeltaMethod::Chunked(Form::Composed), DeltaMethod::Chunked(Form::Fused)];

const HEADS: DeltaHeads = DeltaHeads { key_heads: 2, value_heads: 4, key_dim: 6, value_dim: 10 };

/// Variables that a delta rule is computed from.
struct Scene {
    heads: DeltaHeads,
    /// Queries, keys and values; the roots of the decays; what becomes the strengths; initial states.
    vars: [Var; 4],
    /// How fast states decay.
    pace: f64,
}

/// Results, states, and gradients of a weighted sum of both.
struct Passed {
    out: Tensor,
    states: Tensor,
    gradients: [Tensor; 4],
}

impl Scene {
    fn new(rows: usize, seq_len: usize, cached: usize, heads: DeltaHeads, pace: f64) -> Self {
        let var = |seed, shape: &[usize]| Var::from_tensor(&values(seed, shape)).unwrap();
        let gates = [rows, seq_len, heads.value_heads];
        let vars = [
            var(1, &[rows, seq_len, heads.channels()]),
            var(2, &gates),
            var(3, &gates),
            var(4, &[cached, heads.value_heads, heads.key_dim, heads.value_dim]),
        ];
        Self { heads, vars, pace }
    }

    /// Results and states of some of its positions.
    fn apply(
        &self,
        method: DeltaMethod,
        [qkv, root, strength, initial]: [&Tensor; 4],
        segments: &Segments,
    ) -> (Tensor, Tensor) {
        let decay = (root.sqr().unwrap() * -self.pace).unwrap();
        let beta = forms::sigmoid(Form::Composed, strength).unwrap();
        let inputs =
            DeltaInputs { qkv, decay: &decay, beta: &beta, initial: Some(initial), segments, heads: self.heads };
        let found = forms::delta_rule(method, &inputs, true).unwrap();
        (found.out, found.states.unwrap())
    }

    fn whole(&self, method: DeltaMethod, segments: &Segments) -> (Tensor, Tensor) {
        self.apply(method, self.vars.each_ref().map(Var::as_tensor), segments)
    }

    fn pass(&self, method: DeltaMethod, segments: &Segments) -> Passed {
        let (out, states) = self.whole(method, segments);
        let loss = (weighed(10, &out) + weighed(11, &states)).unwrap();
        Passed { out, states, gradients: self.gradients(&loss) }
    }

    fn gradients(&self, loss: &Tensor) -> [Tensor; 4] {
        let store = loss.backward().unwrap();
        self.vars.each_ref().map(|var| store.get(var).unwrap().clone())
    }
}

fn weighed(seed: u64, x: &Tensor) -> Tensor {
    (x * values(seed, x.dims())).unwrap().sum_all().unwrap()
}

fn equal(found: &Passed, wanted: &Passed, what: &str) {
    let pairs = [(&found.out, &wanted.out, "results"), (&found.states, &wanted.states, "states")];
    let names = ["qkv", "decay", "beta", "initial"];
    let gradients = found.gradients.iter().zip(&wanted.gradients).zip(names).map(|((a, b), name)| (a, b, name));
    for (found, wanted, name) in pairs.into_iter().chain(gradients) {
        let off = difference(found, wanted);
        assert!(off < 1e-5, "{what}: {name} differ by {off}");
    }
}

#[test]
fn methods_agree_across_the_borders_of_chunks() {
    for length in [1, 2, 31, 32, 33, 63, 64, 65, 130] {
        for repeats in 1..=3 {
            let heads =
                DeltaHeads { key_heads: 2, value_heads: 2 * repeats, key_dim: 5 + repeats, value_dim: 12 - repeats };
            let scene = Scene::new(1, length, 1, heads, 0.1);
            let segments = Segments::rows(length, &[0], true);
            let [recurrent, rest @ ..] = METHODS.map(|method| scene.pass(method, &segments));
            for (found, method) in rest.iter().zip(&METHODS[1..]) {
                equal(found, &recurrent, &format!("{method:?}, {length} tokens, {repeats} value heads for a key head"));
            }
        }
    }
}

/// Sums of log decays reach -10,000 within a chunk.
#[test]
fn strong_and_vanishing_decay_give_numbers() {
    let segments = Segments::rows(70, &[0], true);
    for pace in [40.0, 400.0, 1e-9] {
        let scene = Scene::new(1, 70, 1, HEADS, pace);
        let [recurrent, rest @ ..] = METHODS.map(|method| scene.pass(method, &segments));
        for (found, method) in rest.iter().zip(&METHODS[1..]) {
            equal(found, &recurrent, &format!("{method:?} at pace {pace}"));
        }
    }
}

/// Large enough to be shared among threads.
#[test]
fn many_heads_equal_the_recurrence() {
    let heads = DeltaHeads { key_heads: 3, value_heads: 6, key_dim: 64, value_dim: 64 };
    let scene = Scene::new(1, 66, 1, heads, 0.1);
    let segments = Segments::rows(66, &[0], true);
    let fused = scene.pass(DeltaMethod::Chunked(Form::Fused), &segments);
    equal(&fused, &scene.pass(DeltaMethod::Recurrent, &segments), "many heads");
    let scene = Scene::new(20, 1, 20, heads, 0.1);
    let (out, end) = scene.whole(DeltaMethod::Recurrent, &Segments::rows(1, &[0; 20], true));
    let [qkv, root, strength, states] = scene.vars.each_ref().map(|var| var.as_tensor().detach().copy().unwrap());
    let decay = (root.sqr().unwrap() * -0.1).unwrap();
    let beta = forms::sigmoid(Form::Composed, &strength).unwrap();
    let token = |x: &Tensor| x.squeeze(1).unwrap();
    let found = kernels::delta_step(&token(&qkv), &token(&decay), &token(&beta), &states, heads).unwrap();
    assert!(difference(&found, &token(&out)) < 1e-5 && difference(&states, &end) < 1e-5);
}

/// Packed trees, continued sequences, padding: all that the segments can say.
fn forest() -> Segments {
    let segment = |row, own, start| Segment { row, own, start };
    let all = vec![
        segment(0, 3..70, Start::Cached(1)),
        segment(1, 0..33, Start::Zeros),
        segment(1, 33..40, Start::After(1)),
        segment(1, 40..75, Start::After(1)),
        segment(2, 0..5, Start::Cached(0)),
        segment(2, 9..11, Start::After(3)),
    ];
    Segments::new(3, 75, all).unwrap()
}

#[test]
fn methods_agree_on_trees_of_segments() {
    let scene = Scene::new(3, 75, 2, HEADS, 0.1);
    let [recurrent, rest @ ..] = METHODS.map(|method| scene.pass(method, &forest()));
    for (found, method) in rest.iter().zip(&METHODS[1..]) {
        equal(found, &recurrent, &format!("{method:?}"));
    }
    // Padding gives zeros, forwards and backwards.
    for x in [&recurrent.out, &rest[1].out, &rest[1].gradients[0]] {
        let padding = x.narrow(0, 2, 1).unwrap().narrow(1, 11, 64).unwrap().abs().unwrap().sum_all().unwrap();
        assert_eq!(padding.to_scalar::<f32>().unwrap(), 0.0);
    }
}

/// A prompt with two responses, once packed and once as two sequences of their own.
#[test]
fn a_shared_prompt_equals_separate_passes_with_summed_gradients() {
    let scene = Scene::new(1, 100, 1, HEADS, 0.1);
    let (prompt, responses) = (0..37, [37..80, 80..100]);
    let suffix = |prefix: &std::ops::Range<usize>, own: &std::ops::Range<usize>| Suffix {
        prefix: prefix.clone(),
        own: own.clone(),
    };
    let suffixes = [suffix(&(0..0), &prompt), suffix(&prompt, &responses[0]), suffix(&prompt, &responses[1])];
    let packed = Segments::packed(100, &suffixes).unwrap();
    for method in METHODS {
        let (out, states) = scene.whole(method, &packed);
        // The cached sequence is not used here, but has a gradient.
        let unused = (weighed(9, &scene.vars[3]) * 1e-30).unwrap();
        let mut separate = unused.clone();
        let mut together = unused;
        for (index, own) in responses.iter().enumerate() {
            let cut = |x: &Tensor| {
                Tensor::cat(&[x.narrow(1, 0, 37).unwrap(), x.narrow(1, own.start, own.len()).unwrap()], 1).unwrap()
            };
            let [qkv, root, strength, initial] = scene.vars.each_ref();
            let length = 37 + own.len();
            let alone = Segments::rows(length, &[0], false);
            let (alone, state) =
                scene.apply(method, [&cut(qkv), &cut(root), &cut(strength), initial.as_tensor()], &alone);
            let (alone, shared) =
                (alone.narrow(1, 37, own.len()).unwrap(), out.narrow(1, own.start, own.len()).unwrap());
            assert!(difference(&shared, &alone) < 1e-5);
            let shared_state = states.narrow(0, index + 1, 1).unwrap();
            assert!(difference(&shared_state, &state) < 1e-5);
            let seed = 20 + index as u64;
            separate = (separate + weighed(seed, &alone) + weighed(seed + 9, &state)).unwrap();
            together = (together + weighed(seed, &shared) + weighed(seed + 9, &shared_state)).unwrap();
        }
        let (separate, together) = (scene.gradients(&separate), scene.gradients(&together));
        for (index, (separate, together)) in separate.iter().zip(&together).enumerate() {
            let off = difference(together, separate);
            assert!(off < 1e-5, "{method:?}: the gradient of argument {index} differs by {off}");
        }
    }
}

#[test]
fn a_prompt_in_parts_equals_one_pass() {
    let scene = Scene::new(2, 90, 2, HEADS, 0.1);
    for method in METHODS {
        let (whole, end) = scene.whole(method, &Segments::rows(90, &[0, 0], true));
        let mut state = scene.vars[3].as_tensor().clone();
        for part in [0..1, 1..40, 40..90] {
            let cut = |x: &Var| x.narrow(1, part.start, part.len()).unwrap();
            let [qkv, root, strength, _] = scene.vars.each_ref();
            let segments = Segments::rows(part.len(), &[0, 0], true);
            let (out, next) = scene.apply(method, [&cut(qkv), &cut(root), &cut(strength), &state], &segments);
            assert!(difference(&out, &whole.narrow(1, part.start, part.len()).unwrap()) < 1e-5, "{method:?}");
            state = next;
        }
        assert!(difference(&state, &end) < 1e-5, "{method:?}");
    }
}

/// Decode: one token at a time, the states updated in place.
#[test]
fn steps_equal_one_pass() {
    for repeats in 1..=3 {
        let heads = DeltaHeads { key_heads: 2, value_heads: 2 * repeats, key_dim: 6, value_dim: 19 };
        let scene = Scene::new(3, 5, 3, heads, 0.1);
        let [qkv, root, strength, initial] = scene.vars.each_ref().map(|var| var.as_tensor().detach());
        let decay = (root.sqr().unwrap() * -0.1).unwrap();
        let beta = forms::sigmoid(Form::Composed, &strength).unwrap();
        let (whole, end) = scene.whole(DeltaMethod::Recurrent, &Segments::rows(5, &[0, 0, 0], true));
        for form in [Form::Composed, Form::Fused] {
            let states = initial.copy().unwrap();
            for token in 0..5 {
                let at = |x: &Tensor| x.narrow(1, token, 1).unwrap().squeeze(1).unwrap();
                let out = forms::delta_step(form, &at(&qkv), &at(&decay), &at(&beta), &states, heads).unwrap();
                assert!(difference(&out, &at(&whole)) < 1e-5, "{form:?}, token {token}");
            }
            assert!(difference(&states, &end) < 1e-5, "{form:?}");
        }
        let other = values(1, &[2, heads.value_heads, 6, 19]);
        assert!(
            kernels::delta_step(&qkv.narrow(1, 0, 1).unwrap().squeeze(1).unwrap(), &decay, &beta, &other, heads)
                .is_err()
        );
    }
}

/// The state is read at a row's true length, and what padding holds is never seen.
#[test]
fn padding_does_not_enter_the_state() {
    let scene = Scene::new(2, 20, 1, HEADS, 0.1);
    for method in METHODS {
        let (out, states) = scene.whole(method, &Segments::rows(20, &[0, 13], false));
        let [qkv, root, strength, initial] = scene.vars.each_ref();
        let cut = |x: &Var| x.narrow(0, 1, 1).unwrap().narrow(1, 13, 7).unwrap();
        let alone = Segments::rows(7, &[0], false);
        let (alone, state) = scene.apply(method, [&cut(qkv), &cut(root), &cut(strength), initial.as_tensor()], &alone);
        assert!(difference(&out.narrow(0, 1, 1).unwrap().narrow(1, 13, 7).unwrap(), &alone) < 1e-6);
        assert!(difference(&states.narrow(0, 1, 1).unwrap(), &state) < 1e-6);
    }
}

/// Slopes of the loss by central differences, at a few entries of each argument.
#[test]
fn gradients_equal_finite_differences() {
    let heads = DeltaHeads { key_heads: 1, value_heads: 2, key_dim: 3, value_dim: 2 };
    let segments = Segments::packed(
        7,
        &[Suffix { prefix: 0..0, own: 0..3 }, Suffix { prefix: 0..3, own: 3..5 }, Suffix { prefix: 0..3, own: 5..7 }],
    )
    .unwrap();
    let segments = Segments::new(
        1,
        7,
        segments
            .all()
            .iter()
            .map(|segment| Segment {
                start: if segment.start == Start::Zeros { Start::Cached(0) } else { segment.start },
                ..segment.clone()
            })
            .collect(),
    )
    .unwrap();
    let scene = Scene::new(1, 7, 1, heads, 0.2);
    for method in METHODS {
        let passed = scene.pass(method, &segments);
        for (argument, gradient) in passed.gradients.iter().enumerate() {
            let slopes: Vec<f32> = gradient.flatten_all().unwrap().to_vec1().unwrap();
            for at in (0..slopes.len()).step_by(3) {
                let loss = |step: f32| {
                    let mut values: Vec<f32> = scene.vars[argument].flatten_all().unwrap().to_vec1().unwrap();
                    values[at] += step;
                    let moved = Tensor::from_vec(values, scene.vars[argument].shape(), &Device::Cpu).unwrap();
                    let mut inputs = scene.vars.each_ref().map(Var::as_tensor);
                    inputs[argument] = &moved;
                    let (out, states) = scene.apply(method, inputs, &segments);
                    let sum = (weighed(10, &out) + weighed(11, &states)).unwrap();
                    sum.to_scalar::<f32>().unwrap()
                };
                let slope = (loss(0.01) - loss(-0.01)) / 0.02;
                assert!(
                    (slope - slopes[at]).abs() < 5e-3 * slope.abs().max(1.0),
                    "{method:?}, argument {argument}, entry {at}: {slope} and {}",
                    slopes[at]
                );
            }
        }
    }
}

#[test]
fn segments_and_shapes_that_do_not_fit_are_refused() {
    let segment = |row, own, start| Segment { row, own, start };
    for wrong in [
        vec![segment(0, 0..5, Start::Zeros)],
        vec![segment(1, 0..4, Start::Zeros)],
        vec![segment(0, 0..2, Start::After(0))],
        vec![segment(0, 0..2, Start::Zeros), segment(0, 1..3, Start::Zeros)],
    ] {
        assert!(Segments::new(1, 4, wrong.clone()).is_err(), "{wrong:?}");
    }
    assert!(Segments::packed(4, &[Suffix { prefix: 0..1, own: 1..4 }]).is_err());
    let scene = Scene::new(1, 4, 1, HEADS, 0.1);
    let [qkv, decay, beta, initial] = scene.vars.each_ref().map(Var::as_tensor);
    let segments = Segments::rows(4, &[0], true);
    let good = DeltaInputs { qkv, decay, beta, initial: Some(initial), segments: &segments, heads: HEADS };
    let method = DeltaMethod::Chunked(Form::Composed);
    assert!(forms::delta_rule(method, &good, false).unwrap().states.is_none());
    let narrower = DeltaHeads { key_dim: 5, ..HEADS };
    for wrong in [
        DeltaInputs { initial: None, ..good },
        DeltaInputs { decay: qkv, ..good },
        DeltaInputs { heads: narrower, ..good },
        DeltaInputs { segments: &Segments::rows(3, &[0], true), ..good },
    ] {
        assert!(forms::delta_rule(method, &wrong, false).is_err());
    }
}
