//! Memory of this process, where the system reports it (Linux).

/// Largest resident memory in bytes since the start, or since [`reset_peak`].
pub fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory in bytes.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// Resets the peak to what is resident now; false where the system cannot.
pub fn reset_peak() -> bool {
    // proc(5): writing 5 resets the peak resident set size.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(field))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
