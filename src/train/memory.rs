//! How much memory this process has used at most, where the system tells (Linux).

/// Largest resident memory in bytes since the start, or since [`forget_peak`].
pub fn peak_bytes() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory in bytes.
pub fn resident_bytes() -> Option<u64> {
    status("VmRSS:")
}

/// Lets the peak begin again at what is resident now; tells whether the system could.
pub fn forget_peak() -> bool {
    // proc(5): writing 5 resets the peak resident set size.
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with(field))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
