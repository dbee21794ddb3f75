//! The layers, each in a file of its own: what is broken, and how it is made.

pub mod clocks;
pub mod corruption;
pub mod crash_points;
pub mod kills;
pub mod planted;
pub mod power;
pub mod room;
pub mod shipped;

use std::{path::Path, process::Command, time::Instant};

use crate::report::Row;

/// How much of a layer is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// What CI runs.
    Quick,
    /// What is run before a release.
    Full,
}

impl Size {
    /// Returns one of two counts.
    pub fn of(self, quick: u64, full: u64) -> u64 {
        match self {
            Size::Quick => quick,
            Size::Full => full,
        }
    }
}

/// Runs a layer and completes its row; an error of the layer itself is a finding.
pub fn run(name: &str, layer: impl FnOnce(&mut Row) -> anyhow::Result<()>) -> Row {
    let begun = Instant::now();
    let mut row = Row { name: name.into(), ..Row::default() };
    if let Err(error) = layer(&mut row) {
        row.findings.push(format!("the layer did not come to its end: {error:#}"));
    }
    row.took = begun.elapsed();
    row
}

/// Says why a program cannot be used, if so.
pub fn missing(program: &str, argument: &str) -> Option<String> {
    match Command::new(program).arg(argument).output() {
        Ok(_) => None,
        Err(_) => Some(format!("`{program}` is not installed")),
    }
}

/// Says why file systems cannot be mounted, if so.
pub fn not_root() -> Option<String> {
    (!rustix::process::geteuid().is_root()).then(|| "not root, and a mount needs it".into())
}

/// Runs a program of the system; what it says is the error.
pub fn system(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let shown = arguments.join(" ");
    anyhow::ensure!(output.status.success(), "`{program} {shown}`: {}", said.trim());
    Ok(())
}

/// A mounted file system that is gone when this is dropped.
pub struct Mount<'a>(pub &'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        // A worker that has just been killed may hold it for a moment.
        let _ = system("umount", &["-l", &self.0.display().to_string()]);
    }
}

/// Returns the value below which a share of the numbers lies.
pub fn percentile(numbers: &[u64], share: f64) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
