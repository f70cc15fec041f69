//! Resources of this machine.

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

/// Threads that run micro-batches: one per core.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
