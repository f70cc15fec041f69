//! How the stores of artifacts are reached.

use super::values::value_of;
use super::{Setting, SettingValue};

/// How an S3-compatible store is reached. What is empty is taken from AWS's own variables (`AWS_REGION` and so on),
/// else from the machine that the program runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// Address of the store, e.g. `http://minio:9000`; empty: AWS's own.
    pub endpoint: String,
    /// Region of the bucket.
    pub region: String,
    /// Name of the key.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
}

impl S3Settings {
    pub(super) fn settle(values: &[(&Setting, SettingValue)]) -> Self {
        let text = |key: &str| value_of(values, key).0;
        Self {
            endpoint: text("s3_endpoint"),
            region: text("s3_region"),
            access_key_id: text("s3_access_key_id"),
            secret_access_key: text("s3_secret_access_key"),
        }
    }
}
