//! One integration-test crate; one module per room or walk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::pedantic, missing_docs)]

mod algorithm;
mod artifacts;
mod bench;
mod collective;
mod convert;
mod crash;
mod data;
mod documents;
mod facts;
mod footprint;
mod http;
mod hub;
mod layering;
mod model;
mod operations;
mod printed;
mod prompt;
mod recipes;
mod reward;
mod roles;
mod samplers;
mod scripts;
mod serving;
mod store;
mod train;
mod wording;
mod worker;
mod written;
