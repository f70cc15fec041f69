//! The training methods and their defaults: the published settings.

use crate::domain::method::{
    CispoSpec, DapoSpec, Estimator, EvaluationSpec, FocusPosition, LossAverage, Method, NAMES, PapoSpec, PepoSpec,
    PgpoSpec, PolicySpec, RowSplit, SapoSpec, Schedule, SftSpec, Variant, VgpoSpec, VppoSpec,
};

/// A method of jobs and `/v1/score`. The ranges of its settings are in the table of fields.
#[derive(Debug, Clone, Copy)]
pub struct Objective {
    /// The value of `method.type`.
    pub name: &'static str,
    /// Its default settings.
    pub defaults: fn(Variant) -> Method,
    /// Was it published with dynamic sampling?
    pub dynamic_sampling: bool,
}

const fn objective(name: &'static str, defaults: fn(Variant) -> Method) -> Objective {
    Objective { name, defaults, dynamic_sampling: false }
}

impl Objective {
    const fn with_dynamic_sampling(self) -> Self {
        Self { dynamic_sampling: true, ..self }
    }
}

/// Every method, the default first.
pub const OBJECTIVES: [Objective; NAMES.len()] = [
    objective("vgpo", |variant| Method::Vgpo(vgpo(variant))).with_dynamic_sampling(),
    objective("grpo", |_| Method::Grpo(grpo())),
    objective("dapo", |_| Method::Dapo(dapo())).with_dynamic_sampling(),
    objective("gspo", |_| Method::Gspo(gspo())),
    objective("cispo", |variant| Method::Cispo(cispo(variant))),
    objective("sapo", |_| Method::Sapo(sapo())),
    objective("papo", |_| Method::Papo(papo())).with_dynamic_sampling(),
    objective("vppo", |_| Method::Vppo(vppo())).with_dynamic_sampling(),
    objective("pgpo", |_| Method::Pgpo(pgpo())).with_dynamic_sampling(),
    objective("pepo", |_| Method::Pepo(pepo())).with_dynamic_sampling(),
    objective("sft", |_| Method::Sft(sft())),
    objective("eval", |_| Method::Eval(eval())),
];

/// Defaults of the method called `name`; `None` when there is no such method.
pub fn defaults(name: &str, variant: Variant) -> Option<Method> {
    OBJECTIVES.iter().find(|objective| objective.name == name).map(|objective| (objective.defaults)(variant))
}

/// Was the method published with dynamic sampling?
pub fn samples_dynamically(method: &Method) -> bool {
    OBJECTIVES.iter().any(|objective| objective.name == method.name() && objective.dynamic_sampling)
}

/// A bound on the loss of tokens with a negative advantage, shared by the clipped objectives.
const DUAL_CLIP: f64 = 3.0;

/// The policy loss of DAPO, on which VGPO, PAPO, VPPO and PEPO were built: a wider upper limit, the mean over all
/// tokens.
fn token_mean() -> PolicySpec {
    PolicySpec {
        clip_low: 0.2,
        clip_high: 0.28,
        dual_clip: Some(DUAL_CLIP),
        loss_average: LossAverage::Token,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        estimator: Estimator::Grpo,
    }
}

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
        control: None,
        psi_clamp: released.then_some([0.1, 2.0]),
        phi_clamp: released.then_some([0.9, 2.0]),
        policy: token_mean(),
    }
}

/// GRPO: symmetric clip, averaged per response. It keeps VGPO's dual clip, so that a comparison of the two differs in
/// nothing but the visual weights, the upper clip limit and the average.
pub fn grpo() -> PolicySpec {
    PolicySpec {
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
    DapoSpec { policy: token_mean(), overlong_buffer: None, overlong_penalty: 1.0 }
}

/// GSPO as published: limits on the ratio of whole responses, no dual clip.
pub fn gspo() -> PolicySpec {
    PolicySpec { clip_low: 3e-4, clip_high: 4e-4, dual_clip: None, ..grpo() }
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

/// SAPO as published: tokens of responses that were worse than their group fade a little sooner.
pub fn sapo() -> SapoSpec {
    SapoSpec {
        temperature_positive: 1.0,
        temperature_negative: 1.05,
        loss_average: LossAverage::Sequence,
        kl_coef: 0.0,
        entropy_coef: 0.0,
        estimator: Estimator::Grpo,
    }
}

/// PAPO on DAPO as published (PAPO-D): without its three coefficients it is DAPO to the bit.
pub fn papo() -> PapoSpec {
    PapoSpec {
        policy: token_mean(),
        mask_ratio: 0.6,
        perception_coef: 0.01,
        perception_cap: None,
        entropy_penalty: 0.03,
        masked_entropy_penalty: 0.03,
    }
}

/// VPPO as published: without shaping, filtering and entropy penalty it is DAPO to the bit.
pub fn vppo() -> VppoSpec {
    VppoSpec {
        policy: token_mean(),
        mask_ratio: 0.5,
        shaping: true,
        advantage_min: 0.9,
        filtering: true,
        token_share: 0.4,
        entropy_penalty: 0.06,
    }
}

/// PGPO on DAPO with the published weights, from the image as a whole. With `threshold` and `boost` 0 it is DAPO to the
/// bit.
pub fn pgpo() -> PgpoSpec {
    PgpoSpec { policy: token_mean(), mask_ratio: 1.0, threshold: 0.4, boost: 2.0 }
}

/// PEPO on DAPO (PEPO-D) with the weights of the authors' scripts.
pub fn pepo() -> PepoSpec {
    PepoSpec { policy: token_mean(), entropy_gate: 0.05, weight_temperature: 1.8, anneal: true }
}

/// Supervised fine-tuning: the mean over all tokens.
pub fn sft() -> SftSpec {
    SftSpec { loss_average: LossAverage::Token }
}

/// An evaluation of the held-out rows.
pub fn eval() -> EvaluationSpec {
    EvaluationSpec { split: RowSplit::Eval, audit: false, dependency_threshold: 0.1 }
}
