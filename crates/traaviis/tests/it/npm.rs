//! Programs from npm that tests talk to: other people's clients and servers.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

/// Says past the harness, which holds back what tests print, that something was not tested.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}

/// Returns the folder `tests/NAME` with its packages, of which `package` is one; or says why `what`
/// is not there.
pub fn folder(name: &str, package: &str, what: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests").join(name);
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !has("node") || !has("npm") {
        skip(&format!("{what} needs node and npm, which are not on the path"));
        return None;
    }
    // Several tests ask for it.
    static INSTALLS: Mutex<()> = Mutex::new(());
    let _installs = INSTALLS.lock().unwrap_or_else(PoisonError::into_inner);
    if folder.join("node_modules").join(package).exists() {
        return Some(folder);
    }
    let installed = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
        .current_dir(&folder)
        .output()
        .unwrap();
    if !installed.status.success() {
        let why = String::from_utf8_lossy(&installed.stderr).into_owned();
        skip(&format!("`npm ci` in `{}` fails: {why}", folder.display()));
        return None;
    }
    Some(folder)
}
