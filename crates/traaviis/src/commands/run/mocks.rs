//! Answers that `run --mock` gives in the place of the outside: those of a file, written as under
//! `mocks` of a test.
//!
//! Invariant: with mocks no call goes out. A call that none of them answers fails; it is never
//! made, because who gives mocks does not expect that money moves.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use traaviis_engine::{Machine, testing};
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, Span, TenantCtx, Text, Value, builtin,
    call::default_timeout,
    definition::Mock,
    document::{Format, read_mocks, read_tree},
};
use traaviis_ports::{Connector, OnOutcome, Outcome};

use crate::{document, exit::Failure};

/// A connector that answers from a file.
pub struct Mocked {
    machine: Arc<Machine>,
    mocks: Vec<Mock>,
    /// Answers given so far, by the name of the mock.
    given: Mutex<BTreeMap<Text, usize>>,
    later: Arc<Later>,
}

impl Mocked {
    /// Reads a file of mocks for the calls of a machine.
    pub fn open(file: &Path, machine: &Arc<Machine>) -> Result<Mocked, Failure> {
        let text = document::read_text(file)?;
        let wrong = |why: String| {
            let message = format!("`{}` holds no mocks: {why}", file.display());
            Failure::finding("mocks_invalid", message)
        };
        let told = |found: Vec<traaviis_model::Diagnostic>| {
            wrong(found.first().map(ToString::to_string).unwrap_or_default())
        };
        let root = read_tree(&text, Format::of_path(file)).map_err(told)?;
        let mocks = read_mocks(&root).map_err(told)?;
        if let Some(slip) = testing::unknown_mocks(machine, &mocks).first() {
            return Err(wrong(slip.to_string()));
        }
        let later = Later::start().map_err(|error| {
            let message = format!("cannot start a thread: {error}");
            Failure::new(crate::exit::Exit::Internal, "internal", message)
        })?;
        let (machine, given) = (Arc::clone(machine), Mutex::default());
        Ok(Mocked { machine, mocks, given, later })
    }

    /// Returns how a call ends, and when.
    fn outcome(&self, call: &Call) -> (Outcome, Span) {
        let names = testing::names_of_call(&self.machine, call);
        let found = names.iter().find_map(|name| self.mocks.iter().find(|it| it.name == *name));
        let Some(mock) = found else {
            if &*call.kind == "call" && builtin::is_builtin(&call.input) {
                return (builtin::answer(&call.input, 0), Span(0));
            }
            let path = &call.id.path;
            let message = format!("no mock answers `{}` at `{path}`; nothing goes out", call.kind);
            return (Err(EffectError::new("mock_absent", message)), Span(0));
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let at = given.entry(mock.name.clone()).or_default();
        let answer = match mock.is_endless {
            true => mock.answers.first(),
            false => mock.answers.get(*at),
        };
        let Some(answer) = answer else {
            let message = format!(
                "the {} answers of the mock `{}` are used up",
                mock.answers.len(),
                mock.name
            );
            return (Err(EffectError::new("mock_absent", message)), Span(0));
        };
        *at += 1;
        let limit = call.timeout.unwrap_or_else(|| default_timeout(&call.kind));
        match answer.delay < limit {
            true => (answer.outcome.clone(), answer.delay),
            false => {
                let message = format!("no answer within {limit}");
                (Err(EffectError::retryable("timeout", message)), limit)
            }
        }
    }
}

impl Connector for Mocked {
    fn perform(&self, _: &TenantCtx, call: Call, done: OnOutcome) {
        let (outcome, delay) = self.outcome(&call);
        self.later.at(delay, Box::new(move || done(outcome)));
    }

    fn abandon(&self, _: &TenantCtx, _: &CallId) {}

    /// A call that did not go out can always be answered again.
    fn delivery_class(&self, _: &TenantCtx, _: &str, _: &Value) -> DeliveryClass {
        DeliveryClass::SafeRead
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// One thread that does things when their time has come; answers in the middle of a step of whoever
/// asks would meet its locks.
#[derive(Default)]
struct Later {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    count: AtomicU64,
}

#[derive(Default)]
struct Jobs {
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    jobs: BTreeMap<u64, Job>,
}

impl Later {
    fn start() -> std::io::Result<Arc<Later>> {
        let later = Arc::new(Later::default());
        let weak = Arc::downgrade(&later);
        let work = move || {
            while let Some(later) = weak.upgrade() {
                later.step();
            }
        };
        thread::Builder::new().name("mocks".into()).spawn(work)?;
        Ok(later)
    }

    fn at(&self, delay: Span, job: Job) {
        let due = Instant::now() + Duration::from_micros(delay.0.max(0).unsigned_abs());
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.due.push(Reverse((due, number)));
        jobs.jobs.insert(number, job);
        drop(jobs);
        self.changed.notify_one();
    }

    /// Does what is due, or waits for it for a moment: the thread ends soon after its owner.
    fn step(&self) {
        const MOMENT: Duration = Duration::from_millis(100);
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match jobs.due.peek() {
            Some(Reverse((due, _))) if *due <= now => {
                let number = jobs.due.pop().map(|Reverse((_, number))| number);
                let job = number.and_then(|it| jobs.jobs.remove(&it));
                drop(jobs);
                if let Some(job) = job {
                    job();
                }
            }
            next => {
                let wait = next.map_or(MOMENT, |Reverse((due, _))| MOMENT.min(*due - now));
                drop(self.changed.wait_timeout(jobs, wait));
            }
        }
    }
}
