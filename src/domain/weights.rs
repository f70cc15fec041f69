//! Number formats in which served weights are held.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How weights that are not trained are held in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub enum WeightFormat {
    /// As their file has them on a CPU, 16 bits on a GPU.
    #[default]
    #[serde(rename = "native")]
    Native,
    /// 8 bits and a scale for every 32 values.
    #[serde(rename = "q8_0")]
    Q8,
    /// 4 bits and a scale for every 32 values.
    #[serde(rename = "q4_0")]
    Q4,
}

impl WeightFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Native, Self::Q8, Self::Q4];

    /// Its name; those of quantised ones are GGML's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Q8 => "q8_0",
            Self::Q4 => "q4_0",
        }
    }

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}
