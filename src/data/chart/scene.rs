//! A bar chart and what is asked about it.

use image::RgbImage;

use super::paint;
use super::question::{self, Kind};
use crate::data::drawn::{Difficulty, Subject};
use crate::data::random::Dice;

/// Grid lines above the ground line.
pub(super) const LINES: u32 = 5;
/// Names of bars, from the left.
const NAMES: [&str; 6] = ["A", "B", "C", "D", "E", "F"];

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
    difficulty: Difficulty,
}

/// Draws a scene by lot. Easy charts have bars that end at a line, hard ones also bars that end halfway.
pub(super) fn draw(dice: &mut Dice) -> ChartScene {
    let difficulty = if dice.chance(0.5) { Difficulty::Easy } else { Difficulty::Hard };
    let (step, bars, halves) = match difficulty {
        Difficulty::Easy => ([1, 2, 5, 10][dice.below(4)], 3 + dice.below(2), 2),
        Difficulty::Hard => ([2, 4, 10, 20][dice.below(4)], 5 + dice.below(2), 1),
    };
    // In halves of a step, so that all numbers stay whole.
    let height = |dice: &mut Dice| (1 + dice.below((LINES * 2 / halves) as usize)) as u32 * halves;
    let values: Vec<u32> = (0..bars).map(|_| height(dice) * step / 2).collect();
    let hue = dice.below(paint::HUES);
    let kind = question::draw(&values, dice);
    ChartScene { values, step, hue, kind, difficulty }
}

impl ChartScene {
    /// The name of a bar.
    pub fn name(bar: usize) -> &'static str {
        NAMES[bar % NAMES.len()]
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

impl Subject for ChartScene {
    /// The numbers without their order and colours: a chart's values that are held out are in no training picture.
    fn identity(&self) -> String {
        let mut values = self.values.clone();
        values.sort_unstable();
        format!("{} {values:?}", self.step)
    }

    fn paint(&self) -> RgbImage {
        paint::paint(self)
    }

    fn question(&self) -> String {
        self.kind.text()
    }

    fn answer(&self) -> String {
        self.kind.answer(&self.values)
    }

    fn thoughts(&self) -> String {
        let lines: Vec<String> = (0..=LINES).map(|line| (line * self.step).to_string()).collect();
        format!("The lines of the axis are {}. {}", lines.join(", "), question::work(self))
    }

    fn kind(&self) -> &'static str {
        self.kind.tag()
    }

    fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}
