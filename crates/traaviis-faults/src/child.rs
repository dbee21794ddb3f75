//! The other side of a worker: starts it, hears what it tells, ends it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use serde_json::Value as Json;
use traaviis_model::{CallId, InstanceId, TenantId, Text};
use traaviis_testkit::history::{Answer, Told};

use crate::{worker::Work, world::tenant};

/// Longest time that a worker with an end may take.
const LIFE_MAX: Duration = Duration::from_secs(120);

/// All that clients of a directory know, over all its processes.
#[derive(Default)]
pub struct Story {
    events: BTreeMap<Text, (TenantId, Answer)>,
    /// Instances whose start was accepted.
    pub started: Vec<InstanceId>,
    /// Attempts that reached the receiver, and their keys.
    pub calls: Vec<(CallId, Text)>,
    /// Microseconds that accepted events took.
    pub micros: Vec<u64>,
    /// How often each error came.
    pub errors: BTreeMap<String, u64>,
    /// What happened when, for those who look for a moment: seconds since the first line.
    pub accepted_at: Vec<Instant>,
}

impl Story {
    /// Returns what is known of each event.
    pub fn told(&self) -> Vec<Told> {
        let told = self.events.iter();
        told.map(|(event, (tenant, answer))| Told {
            tenant: *tenant,
            event: event.clone(),
            answer: *answer,
        })
        .collect()
    }

    /// Returns how many events were accepted.
    pub fn accepted(&self) -> usize {
        self.events.values().filter(|it| it.1 == Answer::Ok).count()
    }

    /// What nobody knew is known from now on: it is in the log or never will be.
    pub fn decide(&mut self, is_there: impl Fn(&Text) -> bool) {
        for (event, (_, answer)) in &mut self.events {
            if *answer == Answer::Unknown {
                *answer = if is_there(event) { Answer::Decided } else { Answer::Absent };
            }
        }
    }

    /// Returns what is known to be accepted, to be compared with later.
    pub fn so_far(&self) -> SoFar {
        let accepted = self.events.iter().filter(|it| it.1.1 == Answer::Ok);
        let accepted = accepted.map(|it| it.0.clone()).collect();
        SoFar { accepted, started: self.started.len(), calls: self.calls.len() }
    }

    /// Leaves open whether what was accepted since then is there, and what calls were made of;
    /// returns the events of it.
    pub fn doubt_since(&mut self, then: &SoFar) -> Vec<Text> {
        self.started.truncate(then.started);
        self.calls.truncate(then.calls);
        let mut doubted = Vec::new();
        for (event, (_, answer)) in &mut self.events {
            if *answer == Answer::Ok && !then.accepted.contains(event) {
                *answer = Answer::Unknown;
                doubted.push(event.clone());
            }
        }
        doubted
    }

    /// Says whether an event that was left open turned out not to be there.
    pub fn is_absent(&self, event: &Text) -> bool {
        self.events.get(event).is_some_and(|it| it.1 == Answer::Absent)
    }

    fn hear(&mut self, line: &Json) {
        let text = |key: &str| line[key].as_str().map(Text::from);
        if let (Some(event), Some(whose)) = (text("begin"), line["tenant"].as_u64()) {
            self.events.insert(event, (tenant(whose).0.tenant(), Answer::Unknown));
        }
        for (key, answer) in [("ok", Answer::Ok), ("refused", Answer::Refused)] {
            if let Some(known) = text(key).and_then(|event| self.events.get_mut(&event)) {
                known.1 = answer;
            }
        }
        if !line["ok"].is_null() {
            self.micros.extend(line["us"].as_u64());
            self.accepted_at.push(Instant::now());
        }
        if let Some(id) = line["started"].as_str().and_then(|it| it.parse().ok()) {
            self.started.push(id);
        }
        for key in ["code", "error"] {
            if let Some(code) = line[key].as_str() {
                *self.errors.entry(code.into()).or_default() += 1;
            }
        }
        self.calls.extend(call(&line["call"]));
    }
}

fn call(told: &Json) -> Option<(CallId, Text)> {
    let id = CallId {
        instance: told["instance"].as_str()?.parse().ok()?,
        tree: told["tree"].as_u64()?,
        path: told["path"].as_str()?.into(),
        scheduled: told["scheduled"].as_u64()?,
        attempt: told["attempt"].as_u64()? as u32,
    };
    Some((id, told["key"].as_str()?.into()))
}

/// What was accepted at some moment.
pub struct SoFar {
    accepted: BTreeSet<Text>,
    started: usize,
    calls: usize,
}

/// A worker that runs.
pub struct Running {
    child: Child,
    lines: Receiver<Json>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts a worker behind a command of others, such as `strace ARGS`; or by itself.
    pub fn start(work: &Work, before: &[String]) -> anyhow::Result<Running> {
        Running::start_with(work, before, |_| ())
    }

    /// The same, with more said to the command.
    pub fn start_with(
        work: &Work,
        before: &[String],
        more: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Running> {
        let program = std::env::current_exe()?.display().to_string();
        let mut words = before.iter().cloned().chain([program]).chain(work.arguments());
        let mut command = Command::new(words.next().context("a command has a name")?);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        more(&mut command);
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("standard output is a pipe")?;
        let (sender, lines) = channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // A line without its end was not told completely.
                if let Ok(line) = serde_json::from_str(&line) {
                    let _ = sender.send(line);
                }
            }
        });
        Ok(Running { child, lines, reader: Some(reader) })
    }

    /// Returns the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Hears what is told until `time` has passed; says whether the worker still runs.
    pub fn hear_for(&mut self, time: Duration, story: &mut Story) -> bool {
        let end = Instant::now() + time;
        loop {
            match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => story.hear(&line),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Waits until the worker is ready; says whether it came to that.
    pub fn wait_ready(&mut self, story: &mut Story) -> bool {
        let end = Instant::now() + LIFE_MAX;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            story.hear(&line);
            if line["ready"] == true {
                return true;
            }
        }
        false
    }

    /// Kills the worker now and hears the rest.
    pub fn kill(mut self, story: &mut Story) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.rest(story);
        Ok(())
    }

    /// Waits for the end of the worker; none when it hangs and was killed.
    pub fn wait(mut self, story: &mut Story) -> anyhow::Result<Option<ExitStatus>> {
        let goes_on = self.hear_for(LIFE_MAX, story);
        if goes_on {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        self.rest(story);
        Ok((!goes_on).then_some(status))
    }

    fn rest(&mut self, story: &mut Story) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        while let Ok(line) = self.lines.try_recv() {
            story.hear(&line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_told_between_two_moments_is_left_open_and_nothing_else() {
        let mut story = Story::default();
        let call = |number: u128| {
            let instance = InstanceId(Uuid::from_u128(number));
            json!({ "call": {
                "instance": instance, "tree": 1, "path": "p", "scheduled": 2, "attempt": 1,
                "key": "k",
            }})
        };
        let hear = |story: &mut Story, number: u128| {
            let event = format!("e{number}");
            story.hear(&json!({ "begin": event, "tenant": 1 }));
            story.hear(&json!({ "ok": event, "started": Uuid::from_u128(number) }));
            story.hear(&call(number));
        };
        hear(&mut story, 1);
        let before = story.so_far();
        hear(&mut story, 2);
        assert_eq!(story.doubt_since(&before), ["e2".into()]);
        hear(&mut story, 3);
        let numbers =
            |ids: Vec<InstanceId>| ids.iter().map(|it| it.0.as_u128()).collect::<Vec<_>>();
        assert_eq!(numbers(story.started.clone()), [1, 3]);
        assert_eq!(numbers(story.calls.iter().map(|it| it.0.instance).collect()), [1, 3]);
        assert_eq!(story.accepted(), 2);
    }
}
