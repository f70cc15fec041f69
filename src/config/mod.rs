//! The only place where defaults live: server settings ([`app`]) and job settings ([`job`]).

pub mod app;
pub mod audit;
pub mod checkpoints;
pub mod datasets;
pub mod job;
pub mod method;
pub mod rollout;
pub mod serving;
pub mod worker;
