//! Servers that do a part of the work: the API here, engines there, workers elsewhere.

mod forwarding;
mod processes;
