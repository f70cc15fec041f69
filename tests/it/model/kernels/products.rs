use candle_core::{Tensor, Var};
use proptest::prelude::*;
use vgpo::model::kernels::{self, Form, forms};

use super::{agree, values};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn fused_linear_equals_composed(
        (a, b, inner, out) in (1_usize..5, 1_usize..20, 1_usize..40, 1_usize..40), layout in 0_u8..3,
    ) {
        let plain = |form| move |x: &[Tensor]| forms::linear(form, &x[0], &x[1], None);
        agree(&[&[a, b, inner], &[out, inner]], layout, plain(Form::Fused), plain(Form::Composed));
        let biased = |form| move |x: &[Tensor]| forms::linear(form, &x[0], &x[1], Some(&x[2].flatten_all()?));
        agree(&[&[a, b, inner], &[out, inner], &[1, out]], layout, biased(Form::Fused), biased(Form::Composed));
    }
}

/// One row, few and many take different ways through a fused product; all give what the composed one gives.
#[test]
fn products_of_any_number_of_rows_are_equal() {
    let narrow = [1, 2, 15, 16, 17, 40, 256, 257].map(|rows| (rows, 33));
    for (rows, inner) in narrow.into_iter().chain([(3, 150), (20, 150), (300, 520)]) {
        let product = |form| move |x: &[Tensor]| forms::linear(form, &x[0], &x[1], Some(&x[2].flatten_all()?));
        agree(&[&[rows, inner], &[21, inner], &[1, 21]], 0, product(Form::Fused), product(Form::Composed));
    }
}

/// A frozen map with an adapter: `x`, the thin product and the second factor have gradients.
#[test]
fn fused_adapters_equal_composed_ones() {
    for (rows, biased) in [(1, true), (5, false), (40, true), (300, false)] {
        let (weight, bias) = (values(7, &[21, 33]), biased.then(|| values(8, &[21])));
        let map = |form| {
            let (weight, bias) = (weight.clone(), bias.clone());
            move |x: &[Tensor]| forms::adapted_linear(form, &x[0], &weight, bias.as_ref(), &x[1], &x[2])
        };
        for layout in 0..3 {
            agree(&[&[2, rows, 33], &[2, rows, 4], &[21, 4]], layout, map(Form::Fused), map(Form::Composed));
        }
    }
    let adapted = |up: &[usize]| {
        let (x, weight) = (values(1, &[2, 4]), values(2, &[3, 4]));
        kernels::adapted_linear(&x, &weight, None, &values(3, &[2, 2]), &values(4, up)).unwrap_err().to_string()
    };
    assert!(adapted(&[5, 2]).contains("does not fit a weight [3, 4]"), "{}", adapted(&[5, 2]));
}

/// Adapters train beside frozen weights: those have no gradient, but what lies below them has.
#[test]
fn a_frozen_weight_passes_the_gradient_on_and_gets_none() {
    let x = Var::from_tensor(&values(1, &[5, 8])).unwrap();
    let (weight, bias) = (values(2, &[3, 8]), Var::from_tensor(&values(3, &[3])).unwrap());
    let y = kernels::linear(&x, &weight, Some(&bias)).unwrap();
    let store = y.sum_all().unwrap().backward().unwrap();
    let wanted = weight.sum(0).unwrap().broadcast_as((5, 8)).unwrap();
    assert!(super::difference(store.get(&x).unwrap(), &wanted) < 1e-6);
    assert_eq!(store.get(&bias).unwrap().to_vec1::<f32>().unwrap(), [5.0; 3]);
    assert!(store.get(&weight).is_none());
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (x, weight, bias) = (values(1, &[2, 4]), values(2, &[3, 4]), values(3, &[4]));
    let error = kernels::linear(&x, &weight, Some(&bias)).unwrap_err().to_string();
    assert!(error.contains("does not fit 3 outputs"), "{error}");
    let error = kernels::rms_norm(&x, &values(4, &[5]), 1e-6).unwrap_err().to_string();
    assert!(error.contains("do not fit"), "{error}");
    let error = kernels::gated_silu(&x, &weight).unwrap_err().to_string();
    assert!(error.contains("does not fit"), "{error}");
}
