//! Tests of `serving`.
