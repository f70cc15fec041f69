//! The trainer: the loop, rollout, optimizer, checkpoints, evaluation. Knows neither HTTP nor SQL.

pub mod sink;
