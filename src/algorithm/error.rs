//! Errors of the algorithm room.

/// An error of the algorithm room.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AlgorithmError {
    /// A setting is outside its limits.
    #[error("method.{field} is {value}, but must be {allowed}")]
    Setting {
        /// The field of the method.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Per-token lists of one response have different lengths.
    #[error("response {response}: {name} has {actual} values, but the response has {expected} tokens")]
    Length {
        /// Which list.
        name: &'static str,
        /// Index of the response, from 0.
        response: usize,
        /// Its length.
        actual: usize,
        /// The response's length.
        expected: usize,
    },
    /// A number is not finite, or not a cosine.
    #[error("response {response}: {name}[{index}] is {value}, but must be {allowed}")]
    Value {
        /// Which list.
        name: &'static str,
        /// Index of the response, from 0.
        response: usize,
        /// Index in the list, from 0.
        index: usize,
        /// The value.
        value: f64,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The KL term is on, but there are no log-probs of a reference model.
    #[error(
        "response {response}: reference log-probs are missing, but method.kl_coef is {kl_coef}; pass them or set \
        kl_coef to 0"
    )]
    MissingReference {
        /// Index of the response, from 0.
        response: usize,
        /// The weight of the KL term.
        kl_coef: f64,
    },
    /// A method that trains nothing.
    #[error("method `{0}` has no objective; choose one that trains")]
    NoObjective(&'static str),
    /// A case for `explain` cannot be read.
    #[error("{0}")]
    Case(String),
}

/// Fails unless every number of a list is finite.
pub(crate) fn check_finite(name: &'static str, response: usize, values: &[f64]) -> Result<(), AlgorithmError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => {
            Err(AlgorithmError::Value { name, response, index, value: values[index], allowed: "a finite number" })
        }
    }
}

/// Fails unless a list has one entry per token.
pub(crate) fn check_length(
    name: &'static str,
    response: usize,
    actual: usize,
    expected: usize,
) -> Result<(), AlgorithmError> {
    if actual == expected { Ok(()) } else { Err(AlgorithmError::Length { name, response, actual, expected }) }
}
