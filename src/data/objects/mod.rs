//! The built-in task `objects`: count and compare coloured shapes and faces.

mod demonstration;
mod paint;
mod question;
mod scene;

pub use question::{Filter, Kind, Question};
pub use scene::{Object, ObjectsScene, Paint, Shape, Size};

use super::drawn::DrawnTask;

/// The task: pictures of 224 x 224 pixels.
pub fn task() -> DrawnTask<ObjectsScene> {
    DrawnTask::new("objects", 0x0b1e_c75a, 1, scene::draw)
}
