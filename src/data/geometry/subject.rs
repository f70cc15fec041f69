//! A figure as an example of a data set.

use image::RgbImage;

use super::figure::Figure;
use super::scene::GeometryScene;
use super::{paint, question};
use crate::data::drawn::{Difficulty, Subject};

impl Subject for GeometryScene {
    /// The lengths, in either direction: lengths that are held out are in no training picture of that figure.
    fn identity(&self) -> String {
        let (width, height) = self.figure.extent();
        let figure = match self.figure {
            Figure::Rectangle { .. } => "rectangle",
            Figure::Triangle { .. } => "triangle",
        };
        format!("{figure} {} {}", width.min(height), width.max(height))
    }

    fn paint(&self) -> RgbImage {
        paint::paint(self)
    }

    fn question(&self) -> String {
        self.kind.text(&self.figure)
    }

    fn answer(&self) -> String {
        self.kind.answer(&self.figure).to_string()
    }

    fn thoughts(&self) -> String {
        question::work(&self.figure, self.kind)
    }

    fn kind(&self) -> &'static str {
        self.kind.tag()
    }

    fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}
