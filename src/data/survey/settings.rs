//! The dials of the task: how much there is to look at, how free the wording is, how much a demonstrator forgets.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::DataError;

/// The task's name; `survey:looks=16,filler=1` names one with other settings.
pub const NAME: &str = "survey";
/// Numbers of cells that make a picture, with its rows and columns.
pub const GRIDS: [(usize, [usize; 2]); 5] = [(4, [2, 2]), (6, [2, 3]), (9, [3, 3]), (12, [3, 4]), (16, [4, 4])];
/// The most that a word of a filler can say: each is one of four.
pub const MAX_FILLER_BITS: f64 = 2.0;
/// Longest piece of a faulty name that a message repeats.
const SHOWN: usize = 80;

/// Settings of a survey.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurveySettings {
    /// Cells of the picture; a response looks at each of them. One of [`GRIDS`].
    pub looks: usize,
    /// Entropy of a filler's words in bits a word, from 0 (always the same words) to [`MAX_FILLER_BITS`].
    pub filler: f64,
    /// How likely a demonstration to train on does not look at the last cell. It falls in a straight line to 0 in the
    /// middle of the response; up to there the demonstrator always looks.
    pub forgetting: f64,
}

impl Default for SurveySettings {
    /// What the data set `survey` is: its demonstrations always look.
    fn default() -> Self {
        Self { looks: 9, filler: 1.5, forgetting: 0.0 }
    }
}

impl SurveySettings {
    /// What a starter is taught unless it is told otherwise.
    pub fn forgetful() -> Self {
        Self { forgetting: 0.6, ..Self::default() }
    }

    /// Reads `survey` or `survey:looks=9,filler=1.5,forgetting=0.6`; what the name leaves out is as in `base`.
    /// None: the name is of another task.
    ///
    /// # Errors
    /// A setting that does not exist, or a value beyond its limits.
    pub fn parse(name: &str, base: Self) -> Option<Result<Self, DataError>> {
        let rest = name.strip_prefix(NAME)?;
        if rest.is_empty() {
            return Some(Ok(base));
        }
        let fault = |problem: String| DataError::Settings { task: NAME, problem };
        let settings = rest.strip_prefix(':')?.split(',').try_fold(base, Self::with);
        Some(settings.and_then(|settings| settings.check().map(|()| settings)).map_err(fault))
    }

    /// The settings with one more, as `name=value`.
    fn with(mut self, setting: &str) -> Result<Self, String> {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        let short: String = value.chars().take(SHOWN).collect();
        let number = || value.parse::<f64>().map_err(|_| format!("`{name}` is `{short}`, which is not a number"));
        match name {
            "looks" => self.looks = value.parse().map_err(|_| looks_fault(&short))?,
            "filler" => self.filler = number()?,
            "forgetting" => self.forgetting = number()?,
            other => {
                let other: String = other.chars().take(SHOWN).collect();
                return Err(format!("there is no setting `{other}`; there are: looks, filler, forgetting"));
            }
        }
        Ok(self)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if !GRIDS.iter().any(|(looks, _)| *looks == self.looks) {
            return Err(looks_fault(&self.looks.to_string()));
        }
        for (name, value, most) in [("filler", self.filler, MAX_FILLER_BITS), ("forgetting", self.forgetting, 1.0)] {
            if !(0.0..=most).contains(&value) {
                return Err(format!("`{name}` is {value}; it may be 0 to {most}"));
            }
        }
        Ok(())
    }

    /// Rows and columns of the picture.
    pub fn grid(&self) -> [usize; 2] {
        GRIDS.iter().find(|(looks, _)| *looks == self.looks).map_or([1, self.looks], |(_, grid)| *grid)
    }

    /// How likely the demonstrator does not look, by position.
    pub fn forgetting_at(&self, look: usize) -> f64 {
        let first = self.looks.div_ceil(2);
        let late = (look + 1).saturating_sub(first) as f64;
        self.forgetting * late / (self.looks - first) as f64
    }
}

fn looks_fault(value: &str) -> String {
    let all = GRIDS.map(|(looks, _)| looks.to_string()).join(", ");
    format!("`looks` is `{value}`; it may be one of {all}")
}

/// The name that [`SurveySettings::parse`] reads back, whatever its base.
impl fmt::Display for SurveySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}:looks={},filler={},forgetting={}", self.looks, self.filler, self.forgetting)
    }
}
