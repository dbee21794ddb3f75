//! A job: one operation on many instances, kept in a file so that it can be gone on with.
//!
//! The file is `jobs/JOB.jsonl` in the data directory: the plan on the first line, then a line for
//! each instance that is done. It only says how far the job has come; what was done stands in the
//! histories.
//! Invariant: an instance is noted after it is done, so after a crash one may be done once more.
//! Operations bear that: events carry the job as their deduplication id.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use traaviis_model::{InstanceId, Span, Text};
pub use traaviis_platform::jobs::Action;
use traaviis_runtime::Filter;

use crate::{
    control::protocol::Problem,
    exit::{Exit, Failure},
};

/// The first instances of a job, which are watched before the others follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Canary {
    /// How many.
    pub count: usize,
    /// How long.
    pub hold: Span,
    /// Instances of the job that were in trouble before it began.
    pub troubled: BTreeSet<InstanceId>,
}

/// What a job is about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the job.
    pub job: Text,
    /// What it does.
    #[serde(flatten)]
    pub action: Action,
    /// Why.
    pub reason: Option<Text>,
    /// Who was meant.
    pub filter: Filter,
    /// Who was found then.
    pub instances: Vec<InstanceId>,
    /// Some go first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// What became of one instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Done {
    /// Instance.
    pub instance: InstanceId,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// A line of the file, after the plan.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Done(Done),
    Passed {
        #[serde(rename = "canaries_passed")]
        _at: usize,
    },
}

/// A job and how far it has come.
#[derive(Debug)]
pub struct Job {
    /// What it is about.
    pub plan: Plan,
    /// Who is done.
    pub done: Vec<Done>,
    /// The canaries have done no worse than the others.
    pub passed: bool,
    file: File,
    path: PathBuf,
}

impl Job {
    /// Begins a job.
    pub fn begin(dir: &Path, plan: Plan) -> Result<Job, Failure> {
        let path = path_of(dir, &plan.job);
        let denied = |error: std::io::Error| unwritable(&path, &error);
        fs::create_dir_all(dir.join("jobs")).map_err(denied)?;
        let file = OpenOptions::new().create_new(true).append(true).open(&path).map_err(denied)?;
        let mut job = Job { plan, done: Vec::new(), passed: false, file, path };
        job.lock()?;
        job.write(&serde_json::json!(job.plan))?;
        Ok(job)
    }

    /// Finds a job that was begun. A line that was cut off by a crash does not count.
    pub fn find(dir: &Path, name: &str) -> Result<Job, Failure> {
        let path = path_of(dir, name);
        let absent = |why: String| {
            let folder = dir.join("jobs");
            let message = format!("no job `{name}` in `{}`: {why}", folder.display());
            Failure::finding("not_found", message)
        };
        if !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '-') {
            return Err(absent("a name has letters, digits and `-`".into()));
        }
        let text = fs::read_to_string(&path).map_err(|it| absent(it.to_string()))?;
        let mut lines = text.split_inclusive('\n').filter(|it| it.ends_with('\n'));
        let first = lines.next().ok_or_else(|| absent("its file is empty".into()))?;
        let plan = serde_json::from_str(first).map_err(|it| absent(it.to_string()))?;
        let (mut done, mut passed) = (Vec::new(), false);
        for line in lines {
            match serde_json::from_str(line).map_err(|it| absent(it.to_string()))? {
                Line::Done(it) => done.push(it),
                Line::Passed { .. } => passed = true,
            }
        }
        let denied = |error: std::io::Error| unwritable(&path, &error);
        let mut file = OpenOptions::new().append(true).open(&path).map_err(denied)?;
        if !text.ends_with('\n') {
            file.write_all(b"\n").map_err(denied)?;
        }
        let job = Job { plan, done, passed, file, path };
        job.lock()?;
        Ok(job)
    }

    /// Returns who is not done, in order.
    pub fn left(&self) -> Vec<InstanceId> {
        let done: BTreeSet<InstanceId> = self.done.iter().map(|it| it.instance).collect();
        self.plan.instances.iter().copied().filter(|it| !done.contains(it)).collect()
    }

    /// Notes what became of an instance.
    pub fn note(&mut self, instance: InstanceId, error: Option<Failure>) -> Result<(), Failure> {
        let error = error.map(|it| Problem {
            denied: it.exit == Exit::Denied,
            code: it.code,
            message: it.message,
            details: it.details,
        });
        let done = Done { instance, error };
        self.write(&serde_json::json!(done))?;
        self.done.push(done);
        Ok(())
    }

    /// Notes that the others may follow the canaries.
    pub fn pass(&mut self) -> Result<(), Failure> {
        self.write(&serde_json::json!({"canaries_passed": self.done.len()}))?;
        self.passed = true;
        Ok(())
    }

    fn write(&mut self, line: &serde_json::Value) -> Result<(), Failure> {
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(|error| unwritable(&self.path, &error))
    }

    /// One process at a time goes on with a job.
    fn lock(&self) -> Result<(), Failure> {
        match self.file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => {
                let message = format!("job `{}` is under way in another process", self.plan.job);
                Err(Failure::finding("busy", message))
            }
            Err(TryLockError::Error(error)) => Err(unwritable(&self.path, &error)),
        }
    }
}

fn path_of(dir: &Path, name: &str) -> PathBuf {
    dir.join("jobs").join(format!("{name}.jsonl"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", path.display());
    Failure::new(Exit::Denied, "file_unwritable", message)
}
