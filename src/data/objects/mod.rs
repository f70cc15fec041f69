//! The built-in task `objects`: count and compare coloured shapes and faces.

mod demonstration;
mod object;
mod paint;
mod question;
mod scene;
mod subject;

pub use object::{Object, Paint, Shape, Size};
pub use question::{Filter, Kind, Question};
pub use scene::ObjectsScene;

use super::drawn::DrawnTask;

/// The task: pictures of 224 x 224 pixels.
pub fn task() -> DrawnTask<ObjectsScene> {
    DrawnTask::new("objects", 0x0b1e_c75a, 1, scene::draw)
}
