//! Facts about machine and process that stand beside every number.

use std::{fs, time::Duration};

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
    resident_bytes_of(std::process::id()).unwrap_or(0)
}

/// Returns the bytes of a process that are in memory; nothing when it has ended.
pub fn resident_bytes_of(process: u32) -> Option<u64> {
    // The second field of statm counts pages of resident memory.
    let statm = fs::read_to_string(format!("/proc/{process}/statm")).ok()?;
    let pages = statm.split(' ').nth(1)?.parse::<u64>().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Returns the most bytes of this process that were in memory at once.
pub fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0);
    kib << 10
}

/// Lets [`peak_bytes`] begin anew, once the allocator has given back what is free.
pub fn forget_peak() {
    std::thread::sleep(GIVEN_BACK);
    // Where the kernel does not know this, the peak is that of the whole process.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Time in which the allocator gives back what is free; it takes it a second.
const GIVEN_BACK: Duration = Duration::from_secs(3);

/// Returns the processor time that this process has taken, also in the system.
pub fn processor_time() -> Duration {
    // Fields 14 and 15 of stat; the name of the program, which may hold anything, ends with `)`.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split(' ').skip(12).take(2);
    let ticks: u64 = fields.filter_map(|it| it.parse::<u64>().ok()).sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// Time of a tick of the kernel's clock, as it tells programs.
pub const TICK: Duration = Duration::from_millis(10);

/// Bytes of a page where this program runs.
const PAGE_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_is_resident() {
        assert!(resident_bytes() > 100_000);
        assert!(peak_bytes() >= resident_bytes() / 2);
        assert!(machine().contains("cores"));
    }
}
