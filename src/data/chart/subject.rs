//! A bar chart as an example of a data set.

use image::RgbImage;

use super::scene::{ChartScene, LINES};
use super::{demonstration, paint};
use crate::data::drawn::{Difficulty, Subject};

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
        format!("The lines of the axis are {}. {}", lines.join(", "), demonstration::work(self))
    }

    fn kind(&self) -> &'static str {
        self.kind.tag()
    }

    fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}
