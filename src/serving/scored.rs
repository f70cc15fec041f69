//! From raw scores to the answer of `/v1/score`, with the weights of the training method.

use serde_json::Value;

use super::ServingError;
use super::answer::{ScoreAnswer, ScoredResponse, ScoredToken, Usage};
use super::attention_capture::focus_score;
use super::local::{Ablation, RawScore};
use super::maps::{MapCollector, MapWriter};
use super::model::ServedModel;
use super::prepare::PreparedPrompt;
use super::request::{Ablate, AblatePatches, AttentionOptions, ScoreRequest};
use super::visual::visual;
use crate::algorithm::{GroupWeights, ScorePrecision, Trajectory, TrajectoryGroup, TrajectoryWeights, build};
use crate::config::job;
use crate::config::serving::MASKED_SHARE;
use crate::domain::spec::{FocusPosition, Method};

/// The steps after the model has scored.
pub struct Finish {
    method: Method,
    rewards: Option<Vec<f64>>,
    attention: AttentionOptions,
    ablation: Option<Ablation>,
}

impl Finish {
    /// Resolves the method and the ablation of a request.
    ///
    /// # Errors
    /// A field of either that cannot be used.
    pub fn new(request: &ScoreRequest) -> Result<Self, ServingError> {
        Ok(Self {
            method: resolve_method(request.method.as_ref())?,
            rewards: request.rewards.clone(),
            attention: request.attention.clone(),
            ablation: request.ablate.map(ablation).transpose()?,
        })
    }

    /// The requested maps.
    pub fn attention(&self) -> &AttentionOptions {
        &self.attention
    }

    /// What to hide.
    pub fn ablation(&self) -> Option<Ablation> {
        self.ablation
    }

    /// The answer.
    ///
    /// # Errors
    /// Scores that the method cannot weigh, a picture that cannot be encoded.
    pub fn answer(
        self,
        served: &ServedModel,
        prompt: &PreparedPrompt,
        responses: &[Vec<u32>],
        scores: Vec<RawScore>,
    ) -> Result<ScoreAnswer, ServingError> {
        let weights = self.weigh(prompt, &scores)?;
        let writer = MapWriter::new(&self.attention, prompt, &served.model.info().attention_layers);
        let completion_tokens = responses.iter().map(Vec::len).sum();
        let usage = Usage {
            prompt_tokens: prompt.len(),
            image_tokens: prompt.image_tokens(),
            completion_tokens,
            total_tokens: prompt.len() + completion_tokens,
        };
        let mut scored = Vec::with_capacity(scores.len());
        for ((ids, score), weights) in responses.iter().zip(scores).zip(&weights.trajectories) {
            scored.push(self.response(served, &writer, ids, score, weights)?);
        }
        Ok(ScoreAnswer { model: served.id.clone(), responses: scored, usage, warnings: prompt.warnings.clone() })
    }

    /// Which similarity of a response the method weighs.
    fn similarity<'a>(&self, score: &'a RawScore) -> Option<&'a Vec<f64>> {
        match &self.method {
            Method::Vgpo(spec) if spec.focus_position == FocusPosition::Predicting => {
                score.predicting_similarity.as_ref()
            }
            _ => score.similarity.as_ref(),
        }
    }

    fn weigh(&self, prompt: &PreparedPrompt, scores: &[RawScore]) -> Result<GroupWeights, ServingError> {
        let trajectory = |(index, score): (usize, &RawScore)| Trajectory {
            tokens: score.logprobs.len(),
            similarity: self.similarity(score).cloned().unwrap_or_default(),
            // Without rewards all advantages are 0; the answer omits them.
            reward: self.rewards.as_ref().map_or(0.0, |rewards| rewards[index]),
            ..Trajectory::default()
        };
        let group = TrajectoryGroup {
            has_image: !prompt.rendered.layout.is_empty(),
            precision: ScorePrecision::F32,
            trajectories: scores.iter().enumerate().map(trajectory).collect(),
            ..TrajectoryGroup::default()
        };
        let algorithm = build(&self.method).map_err(|e| ServingError::field("/method", e.to_string()))?;
        algorithm.weigh(&group).map_err(|e| ServingError::Engine(e.to_string()))
    }

    fn response(
        &self,
        served: &ServedModel,
        writer: &MapWriter,
        ids: &[u32],
        score: RawScore,
        weights: &TrajectoryWeights,
    ) -> Result<ScoredResponse, ServingError> {
        let similarity = self.similarity(&score).cloned();
        let focus: Vec<f64> = similarity.iter().flatten().map(|s| focus_score(*s)).collect();
        let with_rewards = |list: &[f64], t: usize| self.rewards.as_ref().and_then(|_| list.get(t).copied());
        let mut maps = MapCollector::default();
        let mut tokens = Vec::with_capacity(ids.len());
        for (t, id) in ids.iter().enumerate() {
            let written = maps.add(writer, t, &score.maps[t])?;
            maps.keep(t, written);
            tokens.push(ScoredToken {
                id: *id,
                text: served.processor.token_text(*id),
                logprob: score.logprobs[t],
                focus: focus.get(t).copied(),
                similarity: similarity.as_ref().map(|list| list[t]),
                attention: score.shares[t],
                gate: with_rewards(&weights.gate, t),
                compensated_focus: with_rewards(&weights.compensated_focus, t),
                psi: with_rewards(&weights.psi, t),
                shaped_advantage: with_rewards(&weights.shaped_advantage, t),
                delta_logprob: score.hidden_logprobs.as_ref().map(|hidden| hidden[t] - score.logprobs[t]),
            });
        }
        Ok(ScoredResponse {
            tokens,
            logprob: score.logprobs.iter().sum(),
            visual_accumulation: similarity.is_some().then_some(weights.visual_accumulation),
            phi: weights.phi,
            advantage: self.rewards.as_ref().map(|_| weights.advantage),
            visual: visual(&focus),
            attention: maps.finish(writer)?,
            hidden_cells: score.hidden_cells,
        })
    }
}

/// The method of the request, with defaults for absent fields, as a job resolves it.
fn resolve_method(request: Option<&Value>) -> Result<Method, ServingError> {
    let method = job::method(request).map_err(ServingError::Invalid)?;
    build(&method).map_err(|e| ServingError::field("/method/type", e.to_string()))?;
    Ok(method)
}

fn ablation(ablate: Ablate) -> Result<Ablation, ServingError> {
    let share = |field: &str, share: f64| {
        let complaint = MASKED_SHARE.complaint(&share.into());
        complaint.map_or(Ok(share), |complaint| Err(ServingError::field(format!("/ablate/{field}"), complaint)))
    };
    match ablate {
        Ablate::Named(_) => Ok(Ablation::Image),
        Ablate::Patches(AblatePatches { top_patches: Some(top), random_patches: None, seed: None }) => {
            Ok(Ablation::Top(share("top_patches", top)?))
        }
        Ablate::Patches(AblatePatches { top_patches: None, random_patches: Some(random), seed }) => {
            Ok(Ablation::Random(share("random_patches", random)?, seed.unwrap_or(0)))
        }
        Ablate::Patches(_) => Err(ServingError::field(
            "/ablate",
            "must be \"image\", {\"top_patches\": share} or {\"random_patches\": share, \"seed\": 1}",
        )),
    }
}
