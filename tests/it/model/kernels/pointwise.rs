use candle_core::{Device, Result, Tensor};
use proptest::prelude::*;
use vgpo::model::kernels::{Form, forms};

use super::agree;

type Curve = fn(Form, &Tensor) -> Result<Tensor>;

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    (1_usize..4, 1_usize..9, 1_usize..700).prop_map(|(a, b, c)| vec![a, b, c])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn activations_equal_their_composed_forms(shape in shapes(), layout in 0_u8..3) {
        let curves: [Curve; 3] = [forms::quick_gelu, forms::gelu, forms::gelu_erf];
        for curve in curves {
            agree(&[&shape], layout, |x| curve(Form::Fused, &x[0]), |x| curve(Form::Composed, &x[0]));
        }
        let run = |form| move |x: &[Tensor]| forms::gated_silu(form, &x[0], &x[1]);
        agree(&[&shape, &shape], layout, run(Form::Fused), run(Form::Composed));
    }

    #[test]
    fn norms_equal_their_composed_forms(shape in shapes(), layout in 0_u8..3) {
        let width = [shape[2]];
        let eps = 1e-5;
        let run = |form| move |x: &[Tensor]| forms::rms_norm(form, &x[0], &x[1].flatten_all()?, eps);
        agree(&[&shape, &[1, width[0]]], layout, run(Form::Fused), run(Form::Composed));
        if width[0] > 2 {
            // The spread of one or two values may be near 0, where rounding decides.
            let run = |form| {
                move |x: &[Tensor]| forms::layer_norm(form, &x[0], &x[1].flatten_all()?, &x[2].flatten_all()?, eps)
            };
            agree(&[&shape, &[1, width[0]], &[1, width[0]]], layout, run(Form::Fused), run(Form::Composed));
        }
    }
}

/// Far from 0 the activations are lines: no overflow, no NaN, slopes 0 and 1.
#[test]
fn activations_stay_finite_far_away() {
    let far = candle_core::Var::new(&[-1e30_f32, -1000.0, -90.0, 0.0, 90.0, 1000.0, 1e18], &Device::Cpu).unwrap();
    let curves: [Curve; 3] = [forms::quick_gelu, forms::gelu, forms::gelu_erf];
    for curve in curves {
        let y = curve(Form::Fused, &far).unwrap();
        let values: Vec<f32> = y.to_vec1().unwrap();
        assert!(values[..4].iter().all(|v| v.abs() < 1e-6), "{values:?}");
        assert_eq!(values[4..6], [90.0, 1000.0]);
        let store = y.sum_all().unwrap().backward().unwrap();
        let slopes: Vec<f32> = store.get(&far).unwrap().to_vec1().unwrap();
        assert!(slopes[1..3].iter().all(|v| v.abs() < 1e-6) && slopes[4..6] == [1.0, 1.0], "{slopes:?}");
        assert!((slopes[3] - 0.5).abs() < 1e-6);
    }
}
