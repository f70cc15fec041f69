//! Plain data that every room may use: no axum, no sqlx, no candle.

pub mod access;
pub mod checkpoint;
pub mod dataset;
pub mod device;
pub mod engine;
pub mod eval_row;
pub mod evaluation;
pub mod event;
pub mod field_error;
pub mod figures;
pub mod job;
pub mod log;
pub mod message;
pub mod method;
pub mod metric;
pub mod model;
pub mod nul;
pub mod page;
pub mod retention;
pub mod reward;
pub mod run;
pub mod sample;
pub mod spec;
mod stored;
pub mod sweep;
pub mod weights;
pub mod worker;
