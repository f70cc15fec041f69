use candle_core::{DType, Device, Result, Tensor, Var};
use proptest::prelude::*;
use vgpo::model::kernels::{self, Form, forms};

use super::agree;

type Curve = fn(Form, &Tensor) -> Result<Tensor>;
type Gate = fn(Form, &Tensor, &Tensor) -> Result<Tensor>;

fn shapes() -> impl Strategy<Value = Vec<usize>> {
    (1_usize..4, 1_usize..9, 1_usize..700).prop_map(|(a, b, c)| vec![a, b, c])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn activations_equal_their_composed_forms(shape in shapes(), layout in 0_u8..3) {
        let curves: [Curve; 4] = [forms::quick_gelu, forms::gelu, forms::gelu_erf, forms::sigmoid];
        for curve in curves {
            agree(&[&shape], layout, |x| curve(Form::Fused, &x[0]), |x| curve(Form::Composed, &x[0]));
        }
        let gates: [Gate; 2] = [forms::gated_silu, forms::sigmoid_gated];
        for gate in gates {
            let run = |form| move |x: &[Tensor]| gate(form, &x[0], &x[1]);
            agree(&[&shape, &shape], layout, run(Form::Fused), run(Form::Composed));
        }
    }

    #[test]
    fn norms_equal_their_composed_forms(shape in shapes(), layout in 0_u8..3) {
        let width = [shape[2]];
        let eps = 1e-5;
        let run = |form| move |x: &[Tensor]| forms::rms_norm(form, &x[0], &x[1].flatten_all()?, eps);
        agree(&[&shape, &[1, width[0]]], layout, run(Form::Fused), run(Form::Composed));
        let run = |form| move |x: &[Tensor]| forms::gated_rms_norm(form, &x[0], &x[1], &x[2].flatten_all()?, eps);
        agree(&[&shape, &shape, &[1, width[0]]], layout, run(Form::Fused), run(Form::Composed));
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
    let far = Var::new(&[-1e30_f32, -1000.0, -90.0, 0.0, 90.0, 1000.0, 1e18], &Device::Cpu).unwrap();
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

/// `x * rsqrt(mean x^2 + eps) * weight * silu(gate)` and its weight around 0, in plain arithmetic.
#[test]
fn gated_and_zero_centred_norms_follow_their_formulas() {
    let (x, gate, weight) = ([3.0_f32, -4.0], [1.0_f32, -2.0], [0.5_f32, 2.0]);
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let scale = 1.0 / (12.5_f32 + 1e-6).sqrt();
    let silu = |z: f32| z / (1.0 + (-z).exp());
    let found: Vec<f32> =
        kernels::gated_rms_norm(&tensor(&x), &tensor(&gate), &tensor(&weight), 1e-6).unwrap().to_vec1().unwrap();
    for i in 0..2 {
        assert!((found[i] - x[i] * scale * weight[i] * silu(gate[i])).abs() < 1e-6, "{found:?}");
    }
    let found: Vec<f32> =
        kernels::zero_centred_rms_norm(&tensor(&x), &tensor(&weight), 1e-6).unwrap().to_vec1().unwrap();
    for i in 0..2 {
        assert!((found[i] - x[i] * scale * (1.0 + weight[i])).abs() < 1e-6, "{found:?}");
    }
}

#[test]
fn the_log_decay_equals_its_composed_form_and_stays_finite() {
    let run = |form| move |x: &[Tensor]| forms::log_decay(form, &x[0], &x[1].flatten_all()?, &x[2].flatten_all()?);
    agree(&[&[2, 7, 5], &[1, 5], &[1, 5]], 0, run(Form::Fused), run(Form::Composed));
    let a = Var::new(&[[-1000.0_f32, -20.0, 0.0, 20.0, 1000.0]], &Device::Cpu).unwrap();
    let (a_log, bias) =
        (Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap(), Tensor::zeros(5, DType::F32, &Device::Cpu).unwrap());
    for form in [Form::Fused, Form::Composed] {
        let decay = forms::log_decay(form, &a, &a_log, &bias).unwrap();
        let values: Vec<f32> = decay.flatten_all().unwrap().to_vec1().unwrap();
        for (value, want) in values.iter().zip([0.0, -2e-9, -std::f32::consts::LN_2, -20.0, -1000.0]) {
            assert!((value - want).abs() < 1e-6 * want.abs().max(0.1), "{form:?}: {values:?}");
        }
        let store = decay.sum_all().unwrap().backward().unwrap();
        let slopes: Vec<f32> = store.get(&a).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        for (slope, want) in slopes.iter().zip([0.0, -2e-9, -0.5, -1.0, -1.0]) {
            assert!((slope - want).abs() < 1e-6, "{form:?}: {slopes:?}");
        }
    }
}
