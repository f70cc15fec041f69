//! A bar chart and what is asked about it.

use super::question::{self, Kind, bar_name};
use crate::data::drawn::Difficulty;
use crate::data::random::Rng;

/// Grid lines above the ground line.
pub(super) const LINES: u32 = 5;
/// Colours of bars.
pub(super) const HUES: usize = 6;

/// A bar chart with a question.
#[derive(Debug, Clone)]
pub struct ChartScene {
    /// The values of the bars, from the left.
    pub values: Vec<u32>,
    /// From one grid line to the next.
    pub step: u32,
    /// Which colour the first bar has.
    pub hue: usize,
    /// What is asked.
    pub kind: Kind,
    pub(super) difficulty: Difficulty,
}

/// Draws a scene by lot. Easy charts have bars that end at a line, hard ones also bars that end halfway.
pub(super) fn draw(rng: &mut Rng) -> ChartScene {
    let difficulty = if rng.chance(0.5) { Difficulty::Easy } else { Difficulty::Hard };
    let (step, bars, halves) = match difficulty {
        Difficulty::Easy => ([1, 2, 5, 10][rng.below(4)], 3 + rng.below(2), 2),
        Difficulty::Hard => ([2, 4, 10, 20][rng.below(4)], 5 + rng.below(2), 1),
    };
    // In halves of a step, so that all numbers stay whole.
    let height = |rng: &mut Rng| (1 + rng.below((LINES * 2 / halves) as usize)) as u32 * halves;
    let values: Vec<u32> = (0..bars).map(|_| height(rng) * step / 2).collect();
    let hue = rng.below(HUES);
    let kind = question::draw(&values, rng);
    ChartScene { values, step, hue, kind, difficulty }
}

impl ChartScene {
    /// The name of a bar.
    pub fn name(bar: usize) -> &'static str {
        bar_name(bar)
    }

    /// Where a bar ends, in words.
    pub(super) fn reading(&self, bar: usize) -> String {
        let (value, name) = (self.values[bar], Self::name(bar));
        let below = value / self.step * self.step;
        if below == value {
            format!("bar {name} ends at the line {value}")
        } else {
            format!("bar {name} ends halfway between {below} and {}, at {value}", below + self.step)
        }
    }
}
