//! Tests of `algorithm`.
