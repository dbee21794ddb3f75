//! Runs the binary in a folder of its own and shows what came out, with what differs from run to
//! run replaced by words.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::LazyLock,
    time::{Duration, Instant},
};

use expect_test::Expect;
use regex::Regex;
use tempfile::TempDir;

/// A folder to run commands in.
pub struct World {
    folder: TempDir,
    /// How its directories are kept when no command says; as outside of the test when not set.
    storage: Option<&'static str>,
}

impl World {
    pub fn new() -> World {
        World { folder: tempfile::tempdir().unwrap(), storage: None }
    }

    /// A folder whose data are kept packed with an index, for what is only true of these.
    pub fn embedded() -> World {
        World { storage: Some("embedded"), ..World::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns this for more.
    pub fn file(self, name: &str, text: &str) -> World {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    /// A command of the binary, in this folder, without colour or terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_traaviis"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("NO_COLOR", "1")
            // The root key of a test is its own, whatever is set outside.
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("TRAAVIIS_ROOT_KEY")
            .env_remove("TRAAVIIS_ROOT_KEY_FILE")
            .stdin(Stdio::null());
        if let Some(storage) = self.storage {
            command.env("TRAAVIIS_STORAGE", storage);
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs a command line split at spaces, and reads what it answers as JSON.
    pub fn json(&self, line: &str) -> serde_json::Value {
        let output = self.run(&[&words(line)[..], &["--json"]].concat());
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{line}: {}", self.shown(&output)))
    }

    /// The same of a command that must succeed.
    pub fn good(&self, line: &str) -> serde_json::Value {
        let output = self.run(&[&words(line)[..], &["--json"]].concat());
        assert!(output.status.success(), "{line}: {}", self.shown(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command line split at spaces, and compares everything it did.
    pub fn check(&self, line: &str, expected: Expect) {
        expected.assert_eq(&self.shown(&self.run(&words(line))));
    }

    /// Exit code, then both streams.
    pub fn shown(&self, output: &Output) -> String {
        let code = output.status.code().map_or("killed".into(), |it| it.to_string());
        let mut text = format!("exit {code}\n");
        text += &String::from_utf8_lossy(&output.stdout);
        text += &String::from_utf8_lossy(&output.stderr);
        self.redacted(&text)
    }

    /// Puts words in place of what differs from run to run.
    pub fn redacted(&self, text: &str) -> String {
        static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
            [
                (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
                (r"hash [0-9a-f]{16}", "hash HASH"),
                (r"[0-9a-f]{64}", "HASH"),
                (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "TIME"),
                (r"\b\d+\.\d{3}s", "T"),
                (r"(?m)^ +T  ", "T  "),
                // A slow machine has wider ages.
                (r"\bAGE +", "AGE  "),
                (r"offset \d+", "offset N"),
                // A checkpoint stands where the log was when it was begun.
                (r"positions \d+ to \d+", "positions N to M"),
                (r"position \d+", "position N"),
                (r"checkpoint at \d+", "checkpoint at N"),
                (r"process `?\d+`?", "process PID"),
                (r"/tmp/traaviis-[0-9a-zA-Z-]+", "SCRATCH"),
            ]
            .map(|(rule, word)| (Regex::new(rule).unwrap(), word))
            .into()
        });
        let mut text = text.replace(&self.folder.path().display().to_string(), "DIR");
        for (rule, word) in RULES.iter() {
            text = rule.replace_all(&text, *word).into_owned();
        }
        text
    }
}

/// Returns the arguments of a command line that has no quotes.
pub fn words(line: &str) -> Vec<&str> {
    line.split(' ').collect()
}

/// Ends its process when dropped.
pub struct Process(pub std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until the process at `dir` answers questions.
pub fn wait_for_socket(dir: &Path) {
    let socket = dir.join("control.sock");
    wait_until("the control socket is there", || {
        std::os::unix::net::UnixStream::connect(&socket).is_ok()
    });
}

/// A workflow that needs nothing and ends by itself.
pub const PURE: &str = r#"
traaviis: "1"
name: Pure
version: 1.0.0
initial: counting
input: {schema: {type: object, properties: {to: {type: integer, default: 3}}}}
data: {initial: {to: "${input.to}", at: 0}}
states:
  counting:
    always:
      - {target: done, guard: "data.at >= data.to"}
      - {target: counting, actions: [{assign: {at: "${data.at + 1}"}}]}
  done: {type: final, output: {counted: "${data.at}"}}
"#;

/// A workflow that waits for an event.
pub const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
initial: closed
data: {initial: {opened: 0}}
events: {open: {}, close: {}, lock: {schema: {type: object, required: [by], properties: {by: {type: string}}}}}
states:
  closed:
    on:
      open: {target: opened, actions: [{assign: {opened: "${data.opened + 1}"}}]}
      lock: locked
  opened:
    on: {close: closed}
  locked: {type: final, output: {opened: "${data.opened}"}}
x-waive: {W209: a door may stay as it is}
"#;
