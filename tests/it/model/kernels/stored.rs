//! Weights as they are stored: products, gradients and lookups are those of the widened values.

use std::sync::Arc;

use candle_core::{DType, Tensor};
use half::{bf16, f16};
use vgpo::model::kernels::{self, Form, Memory, Number, StoredMatrix, forms};

use super::{agree, values};

const NUMBERS: [Number; 5] = [Number::F32, Number::Bf16, Number::F16, Number::Q8, Number::Q4];

fn floats(weight: &Tensor) -> Vec<f32> {
    weight.flatten_all().unwrap().to_vec1().unwrap()
}

fn stored(weight: &Tensor, number: Number) -> Arc<StoredMatrix> {
    let shape = weight.dims2().unwrap();
    let all = floats(weight);
    let memory: Arc<dyn Memory> = match number {
        // A byte ahead of the matrix: 16 bits need no alignment.
        Number::Bf16 => {
            Arc::new([vec![7], all.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect()].concat())
        }
        Number::F16 => Arc::new([vec![7], all.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect()].concat()),
        _ => Arc::new(all),
    };
    let (start, own) = match number {
        Number::Bf16 | Number::F16 => (1, number),
        _ => (0, Number::F32),
    };
    let plain = StoredMatrix::new(memory, start, own, shape).unwrap();
    Arc::new(if number == own { plain } else { plain.packed(number).unwrap() })
}

/// Every way that a product takes: a single row, very few, few, many, and several panels.
#[test]
fn products_and_gradients_are_those_of_the_widened_weight() {
    for number in NUMBERS {
        for (rows, out, inner) in
            [(1, 21, 64), (2, 9, 160), (3, 5, 32), (4, 7, 640), (5, 4, 64), (6, 3, 96), (7, 5, 64), (8, 17, 544)]
                .into_iter()
                .chain([(9, 21, 64), (40, 130, 96), (256, 11, 64), (257, 21, 64), (513, 21, 64), (600, 1_200, 512)])
        {
            let weight = stored(&values(9, &[out, inner]), number);
            let wide = weight.widened().unwrap();
            let (bias, layout) = (values(8, &[out]), (rows % 3) as u8);
            for bias in [None, Some(&bias)] {
                agree(
                    &[&[rows, inner]],
                    layout,
                    |x| kernels::stored_linear(&x[0], &weight, bias),
                    |x| forms::linear(Form::Composed, &x[0], &wide, bias),
                );
            }
        }
    }
}

#[test]
fn adapters_on_a_stored_weight_are_those_on_the_widened_one() {
    for number in NUMBERS {
        for (rows, biased) in [(1, true), (6, false), (40, true), (300, false)] {
            let weight = stored(&values(7, &[21, 64]), number);
            let (wide, bias) = (weight.widened().unwrap(), biased.then(|| values(8, &[21])));
            agree(
                &[&[2, rows, 64], &[2, rows, 4], &[21, 4]],
                0,
                |x| kernels::adapted_stored_linear(&x[0], &weight, bias.as_ref(), &x[1], &x[2]),
                |x| forms::adapted_linear(Form::Composed, &x[0], &wide, bias.as_ref(), &x[1], &x[2]),
            );
        }
    }
}

#[test]
fn a_trained_bias_gets_its_gradient() {
    let weight = stored(&values(7, &[21, 64]), Number::Bf16);
    let wide = weight.widened().unwrap();
    agree(
        &[&[5, 64], &[1, 21]],
        0,
        |x| kernels::stored_linear(&x[0], &weight, Some(&x[1].flatten_all()?)),
        |x| forms::linear(Form::Composed, &x[0], &wide, Some(&x[1].flatten_all()?)),
    );
}

#[test]
fn sixteen_bits_are_held_as_they_are_and_rows_are_looked_up() {
    let table = values(3, &[10, 8]).to_dtype(DType::BF16).unwrap().to_dtype(DType::F32).unwrap();
    let held = stored(&table, Number::Bf16);
    assert_eq!((held.bytes(), held.dims()), (160, [10, 8]));
    assert_eq!(floats(&held.widened().unwrap()), floats(&table));
    let rows = held.rows(&[3, 0, 9, 3]).unwrap();
    let want: Vec<f32> = [3, 0, 9, 3].iter().flat_map(|id| floats(&table)[id * 8..][..8].to_vec()).collect();
    assert_eq!((rows.dims(), floats(&rows)), (&[4, 8][..], want));
    let error = held.rows(&[10]).unwrap_err().to_string();
    assert!(error.contains("row 10 of a table with 10 rows"), "{error}");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let new = |bytes: usize, start, number, shape| {
        StoredMatrix::new(Arc::new(vec![0_u8; bytes]), start, number, shape).map(drop).unwrap_err().to_string()
    };
    assert!(new(100, 0, Number::Bf16, (10, 8)).contains("exceeds 100 bytes"));
    assert!(new(1_000, 900, Number::Bf16, (10, 8)).contains("at byte 900"));
    assert!(new(1_000, 0, Number::Q8, (2, 40)).contains("not whole blocks of 32"));
    let aligned: Arc<dyn Memory> = Arc::new(vec![0.0_f32; 9]);
    assert!(StoredMatrix::new(Arc::clone(&aligned), 4, Number::F32, (2, 4)).is_ok());
    let error = StoredMatrix::new(aligned, 2, Number::F32, (2, 4)).map(drop).unwrap_err().to_string();
    assert!(error.contains("not aligned"), "{error}");
    let weight = stored(&values(1, &[3, 4]), Number::Bf16);
    let error = kernels::stored_linear(&values(2, &[2, 5]), &weight, None).unwrap_err().to_string();
    assert!(error.contains("does not fit") || error.contains("reshape"), "{error}");
    let error = kernels::stored_linear(&values(2, &[2, 4]), &weight, Some(&values(3, &[4]))).unwrap_err().to_string();
    assert!(error.contains("does not fit 3 outputs"), "{error}");
    assert!(weight.packed(Number::Q8).unwrap_err().to_string().contains("not whole blocks"));
}
