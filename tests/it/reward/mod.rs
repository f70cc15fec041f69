//! Tests of `reward`.
