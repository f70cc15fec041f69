//! Tests of `http`: a real server on a free port, with a database of its own.

mod chat;
mod checkpoints;
mod client;
mod dashboard;
mod datasets;
mod datasets_jobs;
mod datasets_parts;
mod events;
mod guard;
mod idempotency;
mod inference;
mod job_actions;
mod jobs;
mod lists;
mod logs;
mod maps;
mod metrics;
mod models;
mod openapi;
mod problems;
mod program;
mod report;
mod rewards;
mod rows;
mod support;
mod sweeps;
