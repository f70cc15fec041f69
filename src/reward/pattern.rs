//! The reward `regex`: is a pattern found in the response?

use regex::{Regex, RegexBuilder};

use super::{Reward, RewardError, RewardInput, Verdict, one_if, single};

/// Largest compiled pattern in bytes.
const MAX_SIZE: usize = 1 << 20;

/// 1 when the pattern is found. Matching takes time linear in the response.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// # Errors
    /// A pattern that is none, or too large.
    pub fn new(pattern: &str) -> Result<Self, RewardError> {
        let built = RegexBuilder::new(pattern).size_limit(MAX_SIZE).build();
        built.map(Self).map_err(|error| RewardError::Setting {
            field: "pattern",
            value: format!("`{}`", pattern.chars().take(100).collect::<String>()),
            allowed: format!("a regular expression without look-around or back-references: {error}"),
        })
    }
}

impl Reward for Pattern {
    fn judge(&self, input: RewardInput<'_>) -> Verdict {
        let matched = self.0.find(input.response);
        single("regex", one_if(matched.is_some()), matched.map(|matched| matched.as_str().to_owned()))
    }
}
