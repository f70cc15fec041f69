//! Do all ranks have the same weights?

use sha2::{Digest as _, Sha256};

use super::Ranks;
use crate::model::Parameters;
use crate::model::transfers::down;
use crate::train::error::TrainError;

/// Steps between comparisons.
const COMPARED_EVERY: u64 = 50;

impl Ranks {
    /// Compares the trained weights of all ranks after step `step`, every so often and at the start.
    pub(in crate::train) fn compare(&self, parameters: &Parameters, step: u64) -> Result<(), TrainError> {
        if self.size() == 1 || !step.is_multiple_of(COMPARED_EVERY) {
            return Ok(());
        }
        let mut hash = Sha256::new();
        for (name, var) in parameters.trained() {
            hash.update(name.as_bytes());
            for value in down("weights", var.as_tensor())? {
                hash.update(value.to_le_bytes());
            }
        }
        self.same("the weights", &hex::encode(&hash.finalize()[..8]))
    }
}
