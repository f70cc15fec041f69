//! Tests of `algorithm`.

mod audit;
mod controls;
mod explain;
mod forecast;
mod objective;
mod paper;
mod perception;
mod properties;
mod released;
mod released_faults;
mod siblings;
mod signals;
mod support;
mod token_weights;
