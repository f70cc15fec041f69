//! The controls of VGPO, which tell what its weights are worth. `shuffled` keeps every weight and gives it to another
//! token of the response: what VGPO gains beyond it comes from where the weights are. `oracle` takes them from what the
//! focus is a proxy of, the measured dependency of each token on the image: no visual weights can be expected to help
//! where these do not.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::error::{AlgorithmError, check_finite, check_length};
use super::group::{GroupWeights, TrajectoryGroup};

/// Permutes the token weights of every response over its tokens.
pub(super) fn shuffle(weights: &mut GroupWeights, seed: u64) {
    for (response, trajectory) in weights.trajectories.iter_mut().enumerate() {
        let order = permutation(trajectory.psi.len(), seed, response as u64);
        for list in [&mut trajectory.psi, &mut trajectory.shaped_advantage] {
            *list = order.iter().map(|token| list[*token]).collect();
        }
    }
}

/// A permutation that depends on the seed and the response's place in its group only (Fisher and Yates).
fn permutation(tokens: usize, seed: u64, response: u64) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(response);
    let mut order: Vec<usize> = (0..tokens).collect();
    for last in (1..tokens).rev() {
        order.swap(last, (rng.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

/// How much every token depends on the image; none where that was not measured, or the prompt shows no image.
///
/// # Errors
/// A list of the wrong length, a number that is not finite.
pub(super) fn dependencies(group: &TrajectoryGroup) -> Result<Option<Vec<Vec<f64>>>, AlgorithmError> {
    if !group.has_image || group.trajectories.iter().all(|trajectory| trajectory.dependency.is_empty()) {
        return Ok(None);
    }
    for (i, trajectory) in group.trajectories.iter().enumerate() {
        check_length("dependency", i, trajectory.dependency.len(), trajectory.tokens)?;
        check_finite("dependency", i, &trajectory.dependency)?;
    }
    Ok(Some(group.trajectories.iter().map(|trajectory| trajectory.dependency.clone()).collect()))
}
