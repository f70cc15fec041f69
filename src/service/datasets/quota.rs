//! How much a data set may add to what its project stores.

use crate::domain::dataset::DatasetLimits;
use crate::service::Result;
use crate::service::access::over;
use crate::service::datasets::Datasets;

/// What a project may still store.
pub(super) struct StorageQuota {
    project: String,
    /// Bytes that are left, of how many; none: there is no limit.
    left: Option<(u64, u64)>,
}

impl Datasets {
    /// What a project may still store, as of now.
    pub(super) async fn storage_quota(&self, project: &str) -> Result<StorageQuota> {
        let most = self.settings.quotas.of(project).bytes;
        let left = self.access().storage_left(project).await?;
        Ok(StorageQuota { project: project.to_owned(), left: left.map(|left| (left, most)) })
    }
}

impl StorageQuota {
    /// Refuses `bytes` that do not fit.
    pub(super) fn check(&self, bytes: u64) -> Result<()> {
        match self.left {
            Some((left, most)) if bytes > left => Err(over(&self.project, most - left + bytes, most)),
            _ => Ok(()),
        }
    }

    /// What archives may unpack to.
    pub(super) fn bound(&self, mut limits: DatasetLimits) -> DatasetLimits {
        if let Some((left, _)) = self.left {
            limits.unpacked_bytes = limits.unpacked_bytes.min(left);
        }
        limits
    }
}
