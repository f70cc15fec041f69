//! Does a job fit into the memory of the device that would run it?

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::preview::Preview;
use super::warning::JobWarning;
use crate::domain::field_error::FieldError;
use crate::domain::spec::{DeviceClass, JobSpec};
use crate::domain::worker::{WorkerRecord, WorkerState};
use crate::footprint::advice::{Advice, advice};
use crate::footprint::{Site, estimate, machine};
use crate::service::jobs::Jobs;
use crate::service::{Result, ServiceError};

/// What a message about memory points at.
const FIRST_RESORT: &str = "/batch/microbatch_tokens";

/// Memory by part, in bytes: an estimate from sizes for the longest possible responses, not a measurement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryEstimate {
    /// The parts, which are not all needed at the same time.
    pub parts: Vec<MemoryPart>,
    /// The largest sum of parts that are needed at the same time.
    pub peak_bytes: u64,
    /// Memory of the device, or the limit on it; null if unknown.
    pub limit_bytes: Option<u64>,
}

/// One part of a [`MemoryEstimate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemoryPart {
    /// `base` (the program), `weights`, `gradients`, `optimizer`, `activations`, `logits`, `kv_cache`, `images`
    /// or `checkpoint`.
    pub part: String,
    /// Bytes.
    pub bytes: u64,
}

/// What a job would need, what there is, and what would make it fit.
pub(in crate::service) struct MemoryCheck {
    pub(super) estimate: MemoryEstimate,
    /// Where the limit comes from, for people.
    source: String,
    advice: Vec<Advice>,
}

impl MemoryCheck {
    fn fits(&self) -> bool {
        self.estimate.limit_bytes.is_none_or(|limit| self.estimate.peak_bytes <= limit)
    }

    fn message(&self) -> String {
        format!(
            "the job needs about {} of memory at its peak, but {} has {}",
            size(self.estimate.peak_bytes),
            self.source,
            size(self.estimate.limit_bytes.unwrap_or(0))
        )
    }

    fn detail(advice: &Advice) -> String {
        let name = advice.pointer.trim_start_matches('/').replace('/', ".");
        let text = format!("`{name}`: {} -> about {} at the peak", advice.value, size(advice.alone));
        if advice.together == advice.alone {
            return text;
        }
        format!("{text}, {} with the settings above", size(advice.together))
    }

    /// What to do where no settings make the job fit.
    fn hopeless(&self) -> Option<String> {
        let limit = self.estimate.limit_bytes.unwrap_or(0);
        match self.advice.last() {
            Some(last) if last.together <= limit => None,
            Some(last) => Some(format!(
                "no settings make it fit: with all of these it needs about {}; choose a smaller model or a device with \
                 more memory",
                size(last.together)
            )),
            None => Some("no settings make it fit: choose a smaller model or a device with more memory".to_owned()),
        }
    }

    /// An error that names the settings which would make the job fit, each with the peak it leads to.
    pub(super) fn refuse(&self) -> Result<()> {
        if self.fits() {
            return Ok(());
        }
        let fault = |advice: &Advice| FieldError::new(advice.pointer, Self::detail(advice));
        let mut errors: Vec<FieldError> = self.advice.iter().map(fault).collect();
        errors.extend(self.hopeless().map(|detail| FieldError::new("/model", detail)));
        Err(ServiceError::Invalid { message: self.message(), errors })
    }

    fn in_one(&self) -> String {
        let advice: Vec<String> = self.advice.iter().map(Self::detail).chain(self.hopeless()).collect();
        advice.join("; ")
    }

    /// The same error about one of many jobs.
    pub(in crate::service) fn refuse_in_one(&self) -> Result<()> {
        if self.fits() {
            return Ok(());
        }
        Err(ServiceError::field(FIRST_RESORT, format!("{}. Try {}", self.message(), self.in_one())))
    }

    /// The same as a warning of a dry run.
    pub(super) fn warning(&self) -> Option<JobWarning> {
        if self.fits() {
            return None;
        }
        let detail = format!("{}: it would be rejected. Try {}", self.message(), self.in_one());
        Some(JobWarning { code: "does_not_fit".to_owned(), pointer: FIRST_RESORT.to_owned(), detail })
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

/// A device's memory, where it is known.
struct Room {
    limit: Option<u64>,
    /// Where the limit comes from, for people.
    source: String,
    /// Is it a CPU?
    cpu: bool,
}

impl Jobs {
    /// Compares the job's peak with the memory of the device.
    pub(super) async fn memory_check(&self, spec: &JobSpec, preview: &Preview) -> Result<MemoryCheck> {
        let Room { limit, source, cpu } = self.room(spec.resources.device).await?;
        let site = Site::new(cpu, limit);
        let needed = estimate(&preview.size, spec, &preview.row, site);
        let part = |(name, bytes): (&str, u64)| MemoryPart { part: name.to_owned(), bytes };
        let advice = match limit {
            Some(limit) if needed.peak > limit => advice(&preview.size, spec, &preview.row, site, limit),
            _ => Vec::new(),
        };
        let parts = needed.parts().into_iter().map(part).collect();
        let estimate = MemoryEstimate { parts, peak_bytes: needed.peak, limit_bytes: limit };
        Ok(MemoryCheck { estimate, source, advice })
    }

    /// The device of a kind with the most memory: as its workers reported, else this machine; the setting
    /// `memory_limit` goes before both.
    async fn room(&self, device: DeviceClass) -> Result<Room> {
        let alive = |worker: &WorkerRecord| !matches!(worker.state, WorkerState::Stopped | WorkerState::Crashed);
        let fits = |worker: &WorkerRecord| device == DeviceClass::Any || worker.device_class == device;
        let workers = self.workers().await?.into_iter().filter(|worker| alive(worker) && fits(worker));
        let roomiest = workers.filter(|worker| worker.memory_bytes.is_some()).max_by_key(|worker| worker.memory_bytes);
        let class = roomiest.as_ref().map_or(device, |worker| worker.device_class);
        let cpu = matches!(class, DeviceClass::Any | DeviceClass::Cpu);
        let room = |limit, source: &str| Room { limit, source: source.to_owned(), cpu };
        Ok(match (self.settings.memory_limit, roomiest) {
            (Some(bytes), _) => room(Some(bytes), "the setting `memory_limit`"),
            (None, Some(worker)) => room(worker.memory_bytes, &format!("the device `{}`", worker.device)),
            (None, None) => room(machine::main_memory().filter(|_| cpu), "this machine"),
        })
    }
}
