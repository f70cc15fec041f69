//! Plain data that every room may use: no axum, no sqlx, no candle.

pub mod message;
pub mod metric;
pub mod sample;
pub mod spec;
