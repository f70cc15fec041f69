//! Expressions: a small syntax tree, its value, and when two of them are equal.

use super::value::Value;

/// Values agree to this share of their size.
const TOLERANCE: f64 = 1e-9;
/// With variables: number of points to compare at, of which at least [`MIN_POINTS`] must have values, and their
/// tolerance.
const POINTS: u64 = 8;
const MIN_POINTS: usize = 3;
const POINT_TOLERANCE: f64 = 1e-7;
/// The most that are chosen in a binomial coefficient.
const MAX_CHOSEN: i128 = 200;

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
    Choose,
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
    Floor,
    Ceiling,
}

impl Expression {
    /// Its value, if it has no variables and the value is finite.
    pub fn value(&self) -> Option<Value> {
        let value = self.variables.is_empty().then(|| self.root.value(0))?;
        value.approx.is_finite().then_some(value)
    }

    /// Is it a variable alone?
    pub fn is_variable(&self) -> bool {
        matches!(self.root, Node::Variable(_))
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Self {
        let mut variables = [self.variables, other.variables].concat();
        variables.sort();
        variables.dedup();
        let root = Node::Binary(Operator::Subtract, Box::new(self.root), Box::new(other.root));
        Self { root, variables, decimal: self.decimal || other.decimal }
    }

    /// Is it the same number, not 0, times `other` everywhere?
    pub fn is_multiple_of(&self, other: &Self) -> bool {
        if self.variables.is_empty() || self.variables != other.variables {
            return false;
        }
        let mut factor: Option<f64> = None;
        let mut seen = 0;
        for point in 1..=POINTS {
            let (a, b) = (self.root.value(point).approx, other.root.value(point).approx);
            match (a.is_finite(), b.is_finite()) {
                (false, false) => continue,
                (true, true) if a != 0.0 && b != 0.0 => {}
                _ => return false,
            }
            let here = a / b;
            let known = *factor.get_or_insert(here);
            if (here - known).abs() > POINT_TOLERANCE * known.abs() {
                return false;
            }
            seen += 1;
        }
        seen >= MIN_POINTS
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
                    Operator::Choose => choose(a, b),
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
            Self::Floor => return x.floor(),
            Self::Ceiling => return x.negate().floor().negate(),
            Self::CubeRoot => a.cbrt(),
            Self::Exp => a.exp(),
            Self::Ln => a.ln(),
            Self::Log10 => a.log10(),
            Self::Sin => settled(a.sin()),
            Self::Cos => settled(a.cos()),
            Self::Tan => settled(a.sin()) / settled(a.cos()),
            Self::Cot => settled(a.cos()) / settled(a.sin()),
            Self::Sec => 1.0 / settled(a.cos()),
            Self::Csc => 1.0 / settled(a.sin()),
            Self::Arcsin => a.asin(),
            Self::Arccos => a.acos(),
            Self::Arctan => a.atan(),
        };
        Value::approximate(result)
    }
}

/// The sine of a multiple of π is 0, whatever rounding leaves of it.
fn settled(x: f64) -> f64 {
    if x.abs() < 1e-14 { 0.0 } else { x }
}

/// `n` over `k` for whole `k`; `n` may be any number.
fn choose(n: Value, k: Value) -> Value {
    let Some((k @ 0..=MAX_CHOSEN, 1)) = k.exact else { return Value::approximate(f64::NAN) };
    let step = |product: Value, i: i128| product.multiply(n.add(Value::integer(-i))).divide(Value::integer(i + 1));
    (0..k).fold(Value::integer(1), step)
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
