//! Resources of this machine.

use crate::domain::device::DeviceName;
use crate::domain::spec::DeviceClass;

/// Memory in bytes that this process may use: the machine's, or what its container is limited to.
pub fn main_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemTotal:"))?;
    let installed = line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)?;
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    // The file contains "max" if there is no limit.
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    Some(limit.map_or(installed, |limit| limit.min(installed)))
}

/// Memory in bytes of a device of this machine; none where it is unknown.
pub fn device_memory(device: DeviceName) -> Option<u64> {
    match device.class() {
        DeviceClass::Cpu | DeviceClass::Any => main_memory(),
        DeviceClass::Cuda => cuda_memory(device.number()),
        DeviceClass::Metal => None,
    }
}

/// Memory of a CUDA device, as its driver's own program tells. Where `CUDA_VISIBLE_DEVICES` renumbers devices, the
/// number is looked up in it.
fn cuda_memory(number: usize) -> Option<u64> {
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let name = match &visible {
        Some(list) => list.split(',').nth(number)?.trim().to_owned(),
        None => number.to_string(),
    };
    let query = ["--query-gpu=memory.total", "--format=csv,noheader,nounits", "--id"];
    let output = std::process::Command::new("nvidia-smi").args(query).arg(name).output().ok()?;
    let mebibytes: u64 = String::from_utf8(output.stdout).ok()?.trim().parse().ok()?;
    Some(mebibytes << 20)
}

/// Threads that run micro-batches: one per core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
