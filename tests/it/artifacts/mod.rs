//! Artifacts: complete or absent, never anything between, in a folder and in a bucket.

mod bucket;
mod flaky;
mod local;
mod s3;
