//! The passes of an audit: what each token of a response depends on the image for, under the weights as they are.

use crate::algorithm::audit::TokenAudit;
use crate::domain::eval_row::Thirds;
use crate::model::focus::similarity;
use crate::model::hide::hide_at_random;
use crate::model::logprob::{divergence, gradient_variance};
use crate::model::sampler::stream;

use super::error::TrainError;
use super::group::{Group, responses_mut, sequences};
use super::learner::{Learner, states};
use super::ranks::Ranks;
use super::train_sequence::TrainSequence;

/// The share of the image that is hidden: all of it.
const HIDDEN: f64 = 1.0;

/// Measures every response to a prompt with an image; a token depends on the image if its dependency reaches
/// `threshold`.
pub(super) fn audit(
    learner: &Learner<'_>,
    ranks: &Ranks,
    groups: &mut [Group],
    threshold: f64,
) -> Result<(), TrainError> {
    hide_images(groups);
    let audits = ranks.each(&sequences(groups), |sequences| learner.audit(sequences))?;
    for (response, tokens) in responses_mut(groups).zip(audits) {
        response.audit = tokens.summary(threshold);
    }
    Ok(())
}

/// Measures how much every response to a prompt with an image depends on it.
pub(super) fn image_dependence(learner: &Learner<'_>, ranks: &Ranks, groups: &mut [Group]) -> Result<(), TrainError> {
    hide_images(groups);
    let dependence = ranks.each(&sequences(groups), |sequences| learner.dependency(sequences))?;
    for (response, tokens) in responses_mut(groups).zip(dependence) {
        response.image_dependence = Thirds::of(&tokens);
    }
    Ok(())
}

/// Makes training sequences of the responses, with nothing in their second view's images.
fn hide_images(groups: &mut [Group]) {
    for group in groups.iter_mut() {
        // No number decides what is hidden where everything is.
        let hidden = hide_at_random(&group.prompt.sequence.images, HIDDEN, &mut stream(&[]));
        let masked = group.has_image().then_some(hidden);
        group.prepare(masked.as_ref());
    }
}

impl Learner<'_> {
    /// What an audit measures of every response token; nothing for sequences without masked images.
    pub(super) fn audit(&self, sequences: &[&TrainSequence]) -> Result<Vec<TokenAudit>, TrainError> {
        // Two passes are in memory at once.
        self.each(sequences, self.microbatch_tokens / 2, |sequences| self.audit_batch(sequences))
    }

    fn audit_batch(&self, sequences: &[&TrainSequence]) -> Result<Vec<TokenAudit>, TrainError> {
        if sequences.iter().all(|sequence| sequence.masked_images.is_none()) {
            return Ok(vec![TokenAudit::default(); sequences.len()]);
        }
        let model = self.detached;
        let (whole, masked) = (self.layout(sequences)?, self.masked_layout(sequences)?);
        // Both [batch, seq_len, hidden].
        let (hidden, other) = (states(model, &whole)?, states(model, &masked)?);
        let (targets, vocabulary) = (&whole.targets, &self.vocabulary);
        let mut dependency = divergence(model, &hidden, &other, targets, vocabulary)?.into_iter();
        let mut gradient = gradient_variance(model, &hidden, targets, vocabulary)?.into_iter();
        let mut reading = similarity(&hidden, &whole.focus_rows(false))?.into_iter();
        let mut predicting = similarity(&hidden, &whole.focus_rows(true))?.into_iter();
        let of_sequence = |sequence: &&TrainSequence| {
            let tokens = sequence.response_len();
            let found = TokenAudit {
                // Rounding can leave a divergence of 0 slightly below it.
                dependency: dependency.by_ref().take(tokens).map(|value| value.max(0.0)).collect(),
                gradient: gradient.by_ref().take(tokens).collect(),
                reading: reading.next().flatten().unwrap_or_default(),
                predicting: predicting.next().flatten().unwrap_or_default(),
            };
            if sequence.masked_images.is_some() { found } else { TokenAudit::default() }
        };
        Ok(sequences.iter().map(of_sequence).collect())
    }
}
