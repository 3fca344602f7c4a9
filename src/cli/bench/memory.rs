//! Resident memory of this process; nothing where the machine has no `/proc`.

/// MB (10^6 bytes) now.
pub fn resident_mb() -> Option<u64> {
    read("VmRSS:")
}

/// MB at most since [`reset_peak`].
pub fn peak_mb() -> Option<u64> {
    read("VmHWM:")
}

/// Forgets the peak so far.
pub fn reset_peak() {
    // a kernel that does not know this shows the peak of the whole run
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn read(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024 / 1_000_000)
}
