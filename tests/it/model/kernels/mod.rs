//! Every fused operation equals its composed form, in value and in gradient.

mod attention;
mod blockwise;
mod convolution;
mod delta_cases;
mod delta_memory;
mod delta_rule;
mod draws;
mod pointwise;
mod products;
mod stored;
mod token_logprobs;
mod vocabulary;

use candle_core::{Device, Result, Tensor, Var};
use vgpo::model::sampler::{stream, uniform};

/// Values between -2 and 2 that depend on `seed` only.
pub fn values(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = stream(&[seed]);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| (uniform(&mut rng) * 4.0 - 2.0) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A variable, and a tensor of its values in another layout: contiguous, cut out of a larger one, or transposed.
pub fn laid_out(var: &Var, layout: u8) -> Tensor {
    let x = var.as_tensor();
    let last = x.rank() - 1;
    match layout % 3 {
        0 => x.clone(),
        // A slice of a wider tensor: rows are further apart than they are long.
        1 => Tensor::cat(&[x, x], last - 1)
            .unwrap()
            .narrow(last - 1, x.dim(last - 1).unwrap(), x.dim(last - 1).unwrap())
            .unwrap(),
        // Stored the other way round: the last dimension is not side by side.
        _ => x.transpose(last - 1, last).unwrap().contiguous().unwrap().transpose(last - 1, last).unwrap(),
    }
}

/// Largest difference relative to the size of the values (at least 1).
pub fn difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let scale = b.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar::<f32>().unwrap().max(1.0);
    let worst = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    let worst: Vec<f32> = worst.to_vec1().unwrap();
    worst.into_iter().fold(0.0, |m: f32, v| if v > m || v.is_nan() { v } else { m }) / scale
}

/// Asserts that two forms of an operation over variables of these shapes agree: results, and gradients of a weighted sum.
pub fn agree(
    shapes: &[&[usize]],
    layout: u8,
    fused: impl Fn(&[Tensor]) -> Result<Tensor>,
    composed: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let vars: Vec<Var> =
        shapes.iter().enumerate().map(|(i, shape)| Var::from_tensor(&values(i as u64, shape)).unwrap()).collect();
    let inputs: Vec<Tensor> = vars.iter().map(|var| laid_out(var, layout)).collect();
    let (a, b) = (fused(&inputs).unwrap(), composed(&inputs).unwrap());
    assert!(difference(&a, &b) < 1e-5, "values differ by {}", difference(&a, &b));
    let weights = values(99, b.dims());
    let gradients = |y: &Tensor| (y * &weights).unwrap().sum_all().unwrap().backward().unwrap();
    let (found, wanted) = (gradients(&a), gradients(&b));
    for (index, var) in vars.iter().enumerate() {
        let (found, wanted) = (found.get(var).unwrap(), wanted.get(var).unwrap());
        let off = difference(found, wanted);
        assert!(off < 1e-5, "the gradient of argument {index} differs by {off}");
    }
}
