//! Defaults of the training methods: the published settings.

use crate::domain::spec::{
    CispoSpec, DapoSpec, Estimator, EvaluationSpec, FocusPosition, GrpoSpec, LossAverage, PapoSpec, RowSplit, Schedule,
    SftSpec, Variant, VgpoSpec, VppoSpec,
};

/// A bound on the loss of tokens with a negative advantage, shared by the clipped objectives.
const DUAL_CLIP: f64 = 3.0;

/// VGPO as published; `released` adds the clamps on the weights that the authors' code has.
pub fn vgpo(variant: Variant) -> VgpoSpec {
    let released = variant == Variant::Released;
    VgpoSpec {
        variant,
        beta: 0.3,
        gamma: 0.5,
        kappa: 0.2,
        schedule: Schedule::Linear,
        exponent: 2.0,
        step: 0.5,
        compensation_start: 0.0,
        compensation: true,
        gate: true,
        intra: true,
        inter: true,
        focus_position: FocusPosition::Reading,
        psi_clamp: released.then_some([0.1, 2.0]),
        phi_clamp: released.then_some([0.9, 2.0]),
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        estimator: Estimator::Grpo,
    }
}

/// GRPO: symmetric clip, averaged per response. It keeps VGPO's dual clip, so that a comparison of the two differs in
/// nothing but the visual weights, the upper clip limit and the average.
pub fn grpo() -> GrpoSpec {
    GrpoSpec {
        clip_low: 0.2,
        clip_high: 0.2,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Sequence,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        estimator: Estimator::Grpo,
    }
}

/// DAPO: VGPO's own base, so that VGPO without visual weights is DAPO to the bit. The overlong penalty is off.
pub fn dapo() -> DapoSpec {
    DapoSpec {
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        overlong_buffer: None,
        overlong_penalty: 1.0,
        estimator: Estimator::Grpo,
    }
}

/// GSPO as published: limits on the ratio of whole responses, no dual clip.
pub fn gspo() -> GrpoSpec {
    GrpoSpec { clip_low: 3e-4, clip_high: 4e-4, dual_clip: None, ..grpo() }
}

/// CISPO: an upper bound only; the released code bounds the ratio from both sides.
pub fn cispo(variant: Variant) -> CispoSpec {
    CispoSpec {
        variant,
        clip_low: (variant == Variant::Released).then_some(0.2),
        clip_high: 0.28,
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        estimator: Estimator::Grpo,
    }
}

/// PAPO on DAPO as published (PAPO-D): without its three coefficients it is DAPO to the bit.
pub fn papo() -> PapoSpec {
    PapoSpec {
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        mask_ratio: 0.6,
        perception_coef: 0.01,
        perception_cap: None,
        entropy_penalty: 0.03,
        masked_entropy_penalty: 0.03,
        estimator: Estimator::Grpo,
    }
}

/// VPPO as published: without shaping, filtering and entropy penalty it is DAPO to the bit.
pub fn vppo() -> VppoSpec {
    VppoSpec {
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        mask_ratio: 0.5,
        shaping: true,
        advantage_min: 0.9,
        filtering: true,
        token_share: 0.4,
        entropy_penalty: 0.06,
        estimator: Estimator::Grpo,
    }
}

/// Supervised fine-tuning: the mean over all tokens.
pub fn sft() -> SftSpec {
    SftSpec { loss_average: LossAverage::Token }
}

/// An evaluation of the held-out rows.
pub fn eval() -> EvaluationSpec {
    EvaluationSpec { split: RowSplit::Eval }
}
