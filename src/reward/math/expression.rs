//! Expressions: a small syntax tree, its value, and when two of them are equal.

use super::value::Value;

/// Values agree to this share of their size.
const TOLERANCE: f64 = 1e-9;
/// With variables: at so many points, of which at least [`MIN_POINTS`] must have values, to this share of their size.
const POINTS: u64 = 8;
const MIN_POINTS: usize = 3;
const POINT_TOLERANCE: f64 = 1e-7;

/// A parsed expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Expression {
    pub root: Node,
    /// Names of its variables, sorted, each once.
    pub variables: Vec<String>,
    /// Was a number written with a decimal point?
    pub decimal: bool,
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Number(Value),
    Variable(String),
    Negate(Box<Node>),
    Binary(Operator, Box<Node>, Box<Node>),
    Call(Function, Box<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    SquareRoot,
    CubeRoot,
    Absolute,
    Exp,
    Ln,
    Log10,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Factorial,
}

impl Expression {
    /// Its value, if it has no variables and the value is finite.
    pub fn value(&self) -> Option<Value> {
        let value = self.variables.is_empty().then(|| self.root.value(0))?;
        value.approx.is_finite().then_some(value)
    }

    /// Equal everywhere (as far as [`POINTS`] points can tell); None when too few points have a value on both sides.
    pub fn equals(&self, other: &Self) -> Option<bool> {
        let rounded = self.decimal || other.decimal;
        if self.variables.is_empty() && other.variables.is_empty() {
            return self.value().zip(other.value()).map(|(a, b)| a.equals(b, rounded, TOLERANCE));
        }
        let mut seen = 0;
        for point in 1..=POINTS {
            let (a, b) = (self.root.value(point), other.root.value(point));
            match (a.approx.is_finite(), b.approx.is_finite()) {
                (false, false) => {}
                (true, true) if a.equals(b, true, POINT_TOLERANCE) => seen += 1,
                _ => return Some(false),
            }
        }
        (seen >= MIN_POINTS).then_some(true)
    }
}

impl Node {
    /// The value where every variable has its value of `point`.
    fn value(&self, point: u64) -> Value {
        match self {
            Self::Number(value) => *value,
            Self::Variable(name) => Value::approximate(coordinate(name, point)),
            Self::Negate(inner) => inner.value(point).negate(),
            Self::Binary(operator, a, b) => {
                let (a, b) = (a.value(point), b.value(point));
                match operator {
                    Operator::Add => a.add(b),
                    Operator::Subtract => a.add(b.negate()),
                    Operator::Multiply => a.multiply(b),
                    Operator::Divide => a.divide(b),
                    Operator::Power => a.power(b),
                }
            }
            Self::Call(function, inner) => function.apply(inner.value(point)),
        }
    }
}

impl Function {
    fn apply(self, x: Value) -> Value {
        let a = x.approx;
        let result = match self {
            Self::SquareRoot => return x.square_root(),
            Self::Absolute if a < 0.0 => return x.negate(),
            Self::Absolute => return x,
            Self::Factorial => return factorial(x),
            Self::CubeRoot => a.cbrt(),
            Self::Exp => a.exp(),
            Self::Ln => a.ln(),
            Self::Log10 => a.log10(),
            Self::Sin => a.sin(),
            Self::Cos => a.cos(),
            Self::Tan => a.tan(),
            Self::Cot => 1.0 / a.tan(),
            Self::Sec => 1.0 / a.cos(),
            Self::Csc => 1.0 / a.sin(),
            Self::Arcsin => a.asin(),
            Self::Arccos => a.acos(),
            Self::Arctan => a.atan(),
        };
        Value::approximate(result)
    }
}

fn factorial(x: Value) -> Value {
    match x.exact {
        Some((n @ 0..=30, 1)) => Value::integer((1..=n).product()),
        _ => Value::approximate(f64::NAN),
    }
}

/// A fixed value for a variable at a point, in ±[0.4, 2.4]; different for every name and point.
fn coordinate(name: &str, point: u64) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ point;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let magnitude = 0.4 + 2.0 * ((hash >> 11) as f64 / (1_u64 << 53) as f64);
    // Most points are positive, so that roots and logarithms have values; some are not, so that |x| is not x.
    if point.is_multiple_of(4) { -magnitude } else { magnitude }
}
