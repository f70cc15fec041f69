//! The built-in task `geometry`: rectangles and right triangles with labelled sides.

mod figure;
mod paint;
mod question;
mod scene;
mod subject;

pub use figure::Figure;
pub use question::Kind;
pub use scene::GeometryScene;

use super::drawn::DrawnTask;

/// The task: pictures of 224 x 224 pixels.
pub fn task() -> DrawnTask<GeometryScene> {
    DrawnTask::new("geometry", 0x6e0e_7121, 1, scene::draw)
}
