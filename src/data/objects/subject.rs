//! A picture of objects as an example of a data set.

use image::RgbImage;

use super::scene::ObjectsScene;
use super::{demonstration, paint};
use crate::data::drawn::{Difficulty, Subject};

impl Subject for ObjectsScene {
    /// The objects without their places: a collection that is held out is in no training picture.
    fn identity(&self) -> String {
        let mut objects: Vec<_> = self.objects.iter().map(|o| (o.shape, o.paint, o.size)).collect();
        objects.sort_unstable();
        format!("{objects:?}")
    }

    fn paint(&self) -> RgbImage {
        paint::paint(self)
    }

    fn question(&self) -> String {
        self.question.kind.text()
    }

    fn answer(&self) -> String {
        self.question.kind.answer(&self.objects)
    }

    fn thoughts(&self) -> String {
        demonstration::write(self)
    }

    fn kind(&self) -> &'static str {
        self.question.kind.tag()
    }

    fn difficulty(&self) -> Difficulty {
        self.difficulty
    }
}
