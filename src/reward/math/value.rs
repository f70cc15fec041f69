//! Numbers: exact fractions while they fit, floating point beyond.

/// A number; `exact` is a reduced fraction with a positive denominator while it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Value {
    pub exact: Option<(i128, i128)>,
    pub approx: f64,
}

/// Exponents beyond this are computed in floating point.
const MAX_EXACT_EXPONENT: i128 = 128;
/// Digits that a literal may have and still be exact.
const MAX_DIGITS: usize = 30;

impl Value {
    pub fn integer(n: i128) -> Self {
        Self { exact: Some((n, 1)), approx: n as f64 }
    }

    pub fn approximate(approx: f64) -> Self {
        Self { exact: None, approx }
    }

    /// A literal: `digits` without the point, of which the last `decimals` are after it, times ten to `exponent`.
    pub fn literal(digits: &str, decimals: usize, exponent: i32) -> Self {
        let shift = exponent.saturating_sub(i32::try_from(decimals).unwrap_or(i32::MAX));
        let approx = format!("{digits}e{shift}").parse().unwrap_or(f64::NAN);
        let exact = (digits.len() <= MAX_DIGITS && shift.unsigned_abs() <= 18).then(|| {
            let mantissa: i128 = digits.parse().ok()?;
            let power = 10_i128.pow(shift.unsigned_abs());
            if shift < 0 { reduce(mantissa, power) } else { mantissa.checked_mul(power).map(|n| (n, 1)) }
        });
        Self { exact: exact.flatten(), approx }
    }

    pub fn negate(self) -> Self {
        Self { exact: self.exact.and_then(|(n, d)| Some((n.checked_neg()?, d))), approx: -self.approx }
    }

    pub fn add(self, other: Self) -> Self {
        let exact = self
            .both(other)
            .and_then(|((a, b), (c, d))| reduce(a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?, b.checked_mul(d)?));
        Self { exact, approx: self.approx + other.approx }
    }

    pub fn multiply(self, other: Self) -> Self {
        let exact = self.both(other).and_then(|((a, b), (c, d))| reduce(a.checked_mul(c)?, b.checked_mul(d)?));
        Self { exact, approx: self.approx * other.approx }
    }

    pub fn divide(self, other: Self) -> Self {
        let exact = self.both(other).and_then(|((a, b), (c, d))| reduce(a.checked_mul(d)?, b.checked_mul(c)?));
        Self { exact, approx: self.approx / other.approx }
    }

    pub fn power(self, exponent: Self) -> Self {
        let exact = self.both(exponent).and_then(|((n, d), (e, one))| {
            if one != 1 || e.abs() > MAX_EXACT_EXPONENT {
                return None;
            }
            let times = u32::try_from(e.unsigned_abs()).ok()?;
            let (n, d) = (n.checked_pow(times)?, d.checked_pow(times)?);
            if e < 0 { reduce(d, n) } else { reduce(n, d) }
        });
        Self { exact, approx: self.approx.powf(exponent.approx) }
    }

    /// Exact for squares of fractions.
    pub fn square_root(self) -> Self {
        let exact = self.exact.and_then(|(n, d)| Some((whole_root(n)?, whole_root(d)?)));
        Self { exact, approx: self.approx.sqrt() }
    }

    /// The largest whole number that is not above it.
    pub fn floor(self) -> Self {
        let exact = self.exact.map(|(n, d)| (n.div_euclid(d), 1));
        Self { exact, approx: exact.map_or_else(|| self.approx.floor(), |(n, _)| n as f64) }
    }

    /// Equal exactly where both are exact (unless one was rounded to decimals and is not a whole number), else to
    /// `tolerance` of their size.
    pub fn equals(self, other: Self, rounded: bool, tolerance: f64) -> bool {
        match (self.exact, other.exact) {
            (Some(a), Some(b)) if a == b => return true,
            (Some((_, d)), Some((_, e))) if !rounded || (d == 1 && e == 1) => return false,
            _ => {}
        }
        let scale = self.approx.abs().max(other.approx.abs());
        (self.approx - other.approx).abs() <= tolerance * scale || self.approx == other.approx
    }

    fn both(self, other: Self) -> Option<((i128, i128), (i128, i128))> {
        self.exact.zip(other.exact)
    }
}

fn reduce(n: i128, d: i128) -> Option<(i128, i128)> {
    if d == 0 {
        return None;
    }
    let divisor = i128::try_from(gcd(n.unsigned_abs(), d.unsigned_abs())).ok()?;
    let (n, d) = (n / divisor, d / divisor);
    if d < 0 { Some((n.checked_neg()?, d.checked_neg()?)) } else { Some((n, d)) }
}

fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

fn whole_root(n: i128) -> Option<i128> {
    if !(0..=1 << 100).contains(&n) {
        return None;
    }
    let root = (n as f64).sqrt().round() as i128;
    (root.checked_mul(root)? == n).then_some(root)
}
