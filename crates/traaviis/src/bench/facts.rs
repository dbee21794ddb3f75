//! Facts about machine and process that stand beside every number.

use std::fs;

/// Returns one line about the machine.
pub fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|it| it.strip_prefix("model name").and_then(|it| it.split_once(':')))
        .map_or("unknown processor", |it| it.1.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(3).collect();
    format!("{model}, {cores} cores, Linux {}, load {}", kernel.trim(), load.join(" "))
}

/// Returns the bytes of this process that are in memory.
pub fn resident_bytes() -> u64 {
    // The second field of statm counts pages of resident memory.
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
    pages * PAGE_BYTES
}

/// Bytes of a page where this program runs.
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_resident() {
        assert!(resident_bytes() > 100_000);
        assert!(machine().contains("cores"));
    }
}
