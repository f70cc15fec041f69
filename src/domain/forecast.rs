//! What visual weights are likely to gain, as the answer to an audit.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What visual weights are likely to gain with a model and a data set, by experiments on other tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// In a word.
    pub verdict: ForecastVerdict,
    /// In sentences: what is likely, on which evidence, and what to try.
    pub text: String,
    /// The gain over DAPO of each way to weigh; empty where nothing is forecast.
    pub gains: Vec<GainForecast>,
    /// Number of tasks that the forecast is made from.
    pub cells: u64,
}

/// A forecast in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForecastVerdict {
    /// Likely to help: the whole range is above 0.
    Help,
    /// Likely to do nothing that could be told from 0.
    Nothing,
    /// Likely to hurt: the whole range is below 0.
    Hurt,
    /// No forecast.
    Unknown,
}

/// The forecast for one way to weigh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GainForecast {
    /// Whose weights: an arm of the experiment (docs/experiments.md): `vgpo`, `predicting`, `oracle-intra` (a control).
    pub arm: String,
    /// Points of held-out accuracy over DAPO.
    pub gain: f64,
    /// Lower end of the range: the gain minus twice the error of forecasts for tasks that were left out.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}
