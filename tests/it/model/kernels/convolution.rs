//! The causal convolution over packed rows, and what it hands on.

use candle_core::{Device, Tensor, Var};
use vgpo::model::kernels::{Form, Segment, Segments, Start, causal_conv, causal_conv_step, forms};

use super::{agree, difference, values};

/// Two cached sequences go on, a prompt shorter than the kernel has responses, one of which has a response itself.
fn forest() -> Segments {
    let segment = |row, own, start| Segment { row, own, start };
    let all = vec![
        segment(0, 1..7, Start::Cached(1)),
        segment(1, 0..2, Start::Zeros),
        segment(1, 2..3, Start::After(1)),
        segment(1, 3..8, Start::After(1)),
        segment(0, 7..8, Start::Cached(0)),
        segment(2, 3..8, Start::After(2)),
    ];
    Segments::new(3, 8, all).unwrap()
}

#[test]
fn the_fused_convolution_equals_the_composed_one() {
    let segments = forest();
    for layout in 0..3 {
        for kernel in [2, 4] {
            let run = |form| {
                let segments = &segments;
                move |x: &[Tensor]| {
                    let weight = x[1].reshape((5, 1, kernel))?;
                    let found = forms::causal_conv(form, &x[0], &weight, Some(&x[2]), segments)?;
                    // The columns have a gradient too.
                    Tensor::cat(&[found.out.flatten_all()?, (found.columns()? * 0.5)?.flatten_all()?], 0)
                }
            };
            agree(&[&[3, 8, 5], &[5, kernel], &[2, kernel - 1, 5]], layout, run(Form::Fused), run(Form::Composed));
        }
    }
}

#[test]
fn a_convolution_follows_its_formula() {
    let mixed = Tensor::new(&[[[1.0_f32], [2.0], [3.0]]], &Device::Cpu).unwrap();
    let weight = Tensor::new(&[[[10.0_f32, 1.0]]], &Device::Cpu).unwrap();
    let found = causal_conv(&mixed, &weight, None, &Segments::rows(3, &[0], false)).unwrap();
    let silu = |x: f32| x / (1.0 + (-x).exp());
    let out: Vec<f32> = found.out.flatten_all().unwrap().to_vec1().unwrap();
    for (out, want) in out.iter().zip([1.0, 12.0, 23.0]) {
        assert!((out - silu(want)).abs() < 1e-5, "{out}");
    }
    assert_eq!(found.columns().unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(), [3.0]);
}

/// Every segment by itself, with what came before it in one row: the same results, columns and summed gradients.
#[test]
fn segments_equal_separate_sequences() {
    let segments = forest();
    let mixed = Var::from_tensor(&values(1, &[3, 8, 5])).unwrap();
    let initial = Var::from_tensor(&values(2, &[2, 3, 5])).unwrap();
    let weight = Var::from_tensor(&values(3, &[5, 1, 4])).unwrap();
    let weights = values(4, &[3, 8, 5]);
    let found = causal_conv(&mixed, &weight, Some(&initial), &segments).unwrap();
    let columns = found.columns().unwrap();
    let mut loss: Option<Tensor> = None;
    let history = |index: usize| {
        // The positions of a segment's ancestors, oldest first, and the cached sequence before them.
        let mut parts = Vec::new();
        let mut at = index;
        let cached = loop {
            let segment = &segments.all()[at];
            parts.insert(0, segment.clone());
            match segment.start {
                Start::After(parent) => at = parent,
                Start::Cached(sequence) => break Some(sequence),
                Start::Zeros => break None,
            }
        };
        (parts, cached)
    };
    for (index, segment) in segments.all().iter().enumerate() {
        let (parts, cached) = history(index);
        let cut =
            |part: &Segment| mixed.narrow(0, part.row, 1).unwrap().narrow(1, part.own.start, part.own.len()).unwrap();
        let row = Tensor::cat(&parts.iter().map(cut).collect::<Vec<_>>(), 1).unwrap();
        let length = row.dim(1).unwrap();
        let before = cached.map(|sequence| initial.narrow(0, sequence, 1).unwrap());
        let whole = Segments::rows(length, &[0], before.is_some());
        let alone = forms::causal_conv(Form::Composed, &row, &weight, before.as_ref(), &whole).unwrap();
        let own = segment.own.len();
        let out = alone.out.narrow(1, length - own, own).unwrap();
        let place = |x: &Tensor| x.narrow(0, segment.row, 1).unwrap().narrow(1, segment.own.start, own).unwrap();
        assert!(difference(&place(&found.out), &out) < 1e-6, "segment {index}");
        assert!(difference(&columns.narrow(0, index, 1).unwrap(), &alone.columns().unwrap()) < 1e-6, "segment {index}");
        let part = (out * place(&weights)).unwrap().sum_all().unwrap();
        loss = Some(match loss {
            Some(loss) => (loss + part).unwrap(),
            None => part,
        });
    }
    let wanted = loss.unwrap().backward().unwrap();
    let gradients = (found.out * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    for var in [&mixed, &initial, &weight] {
        assert!(difference(gradients.get(var).unwrap(), wanted.get(var).unwrap()) < 1e-5);
    }
}

#[test]
fn a_step_equals_the_next_position_and_moves_the_columns() {
    let (mixed, weight) = (values(1, &[3, 6, 5]), values(2, &[5, 1, 4]));
    let whole = causal_conv(&mixed, &weight, None, &Segments::rows(6, &[0, 4, 5], false)).unwrap();
    let first = mixed.narrow(1, 0, 5).unwrap();
    let before = causal_conv(&first, &weight, None, &Segments::rows(5, &[0, 4, 5], false)).unwrap();
    let next = mixed.narrow(1, 5, 1).unwrap().squeeze(1).unwrap();
    for form in [Form::Composed, Form::Fused] {
        let columns = before.columns().unwrap().contiguous().unwrap();
        let out = forms::causal_conv_step(form, &next, &weight, &columns).unwrap();
        assert!(difference(&out, &whole.out.narrow(1, 5, 1).unwrap().squeeze(1).unwrap()) < 1e-6, "{form:?}");
        assert_eq!(difference(&columns, &whole.columns().unwrap()), 0.0, "{form:?}");
        let other = values(3, &[3, 2, 5]);
        assert!(forms::causal_conv_step(form, &next, &weight, &other).is_err());
    }
    assert!(causal_conv_step(&next, &weight, &before.columns().unwrap()).is_ok());
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let (mixed, weight) = (values(1, &[1, 4, 5]), values(2, &[5, 1, 4]));
    let rows = |cached| Segments::rows(4, &[0], cached);
    assert!(causal_conv(&mixed, &weight, None, &rows(true)).is_err());
    assert!(causal_conv(&mixed, &weight, Some(&values(3, &[1, 2, 5])), &rows(true)).is_err());
    assert!(causal_conv(&mixed, &values(2, &[4, 1, 4]), None, &rows(false)).is_err());
    assert!(causal_conv(&mixed, &weight, None, &Segments::rows(5, &[0], false)).is_err());
}
