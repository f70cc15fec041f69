//! The built-in task `chart`: read a bar chart with an axis and compute with what was read.

mod demonstration;
mod paint;
mod question;
mod scene;
mod subject;

pub use question::Kind;
pub use scene::ChartScene;

use super::drawn::DrawnTask;

/// The task: pictures of 224 x 224 pixels.
pub fn task() -> DrawnTask<ChartScene> {
    DrawnTask::new("chart", 0xc4a2_7001, 1, scene::draw)
}
