//! What waits for its turn with one instance.
//!
//! Order of preference: command, outcome, (due timer,) event; first come first served inside each.
//! Timers stand in the snapshot, not here. A mailbox exists only while something is in it, so that
//! a parked instance stays small.

use std::{collections::VecDeque, sync::Arc};

use traaviis_engine::Input;
use traaviis_model::{Emission, Seq, Snapshot, TenantCtx, Text};

use crate::{error::Error, owner::Reply};

/// What an input was taken with.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// Last record of the step that took it.
    pub seq: Seq,
    /// The input was seen before: this is the first answer, nothing happened now.
    pub replayed: bool,
    /// State after that step; of an input that was seen before, the state now.
    pub snapshot: Arc<Snapshot>,
}

impl Accepted {
    /// The input led to this state, which it may have found.
    pub(crate) fn with(snapshot: &Arc<Snapshot>) -> Accepted {
        Accepted { seq: snapshot.seq, replayed: false, snapshot: Arc::clone(snapshot) }
    }
}

/// One input and whom to answer.
pub(crate) struct Job {
    pub input: Input,
    pub origin: Origin,
    /// Record at which the instance must stand, or else the input is not taken.
    pub if_seq: Option<Seq>,
}

/// Where an input came from.
pub(crate) enum Origin {
    /// A caller, who is answered.
    Caller(TenantCtx, Reply<Accepted>),
    /// Another instance: answered like a caller, and waits for space like the runtime.
    Instance(TenantCtx, Reply<Accepted>),
    /// An emission that the instance may subscribe to; told when it is done with it.
    Emission(TenantCtx, Arc<Emission>, Reply<Accepted>),
    /// The runtime, which tries again after a full disk.
    Runtime,
}

impl Job {
    pub(crate) fn runtime(input: Input) -> Job {
        Job { input, origin: Origin::Runtime, if_seq: None }
    }

    /// Returns the name of the event and its deduplication id, when it has one.
    pub(crate) fn event_id(&self) -> Option<(&Text, &Text)> {
        match &self.input {
            Input::Event { event, id: Some(id), .. } | Input::Delivered { event, id, .. } => {
                Some((event, id))
            }
            _ => None,
        }
    }

    /// Answers the caller, if there is one.
    pub(crate) fn answer(self, answer: Result<Accepted, Error>) {
        self.origin.answer(answer);
    }
}

impl Origin {
    pub(crate) fn answer(self, answer: Result<Accepted, Error>) {
        if let Origin::Caller(_, reply)
        | Origin::Instance(_, reply)
        | Origin::Emission(_, _, reply) = self
        {
            reply(answer);
        }
    }

    /// Returns who asks; none when it is the runtime.
    pub(crate) fn ctx(&self) -> Option<&TenantCtx> {
        match self {
            Origin::Caller(ctx, _) | Origin::Instance(ctx, _) | Origin::Emission(ctx, ..) => {
                Some(ctx)
            }
            Origin::Runtime => None,
        }
    }
}

/// Class of an input, in order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Command,
    Outcome,
    Event,
}

impl Class {
    pub(crate) fn of(input: &Input) -> Class {
        match input {
            Input::Cancel { .. }
            | Input::Resolve { .. }
            | Input::Operate(_)
            | Input::Reopen(_)
            | Input::Fork(_)
            | Input::Continue
            | Input::Starting { .. } => Class::Command,
            Input::Outcome { .. }
            | Input::Unknown { .. }
            | Input::Ended { .. }
            | Input::Timer { .. } => Class::Outcome,
            Input::Event { .. } | Input::Delivered { .. } => Class::Event,
        }
    }
}

#[derive(Default)]
pub(crate) struct Mailbox {
    commands: VecDeque<Job>,
    outcomes: VecDeque<Job>,
    events: VecDeque<Job>,
}

impl Mailbox {
    pub(crate) fn len(&self) -> usize {
        self.commands.len() + self.outcomes.len() + self.events.len()
    }

    pub(crate) fn push(&mut self, job: Job) {
        self.queue(Class::of(&job.input)).push_back(job);
    }

    /// Puts a job before the others of its class.
    pub(crate) fn push_front(&mut self, job: Job) {
        self.queue(Class::of(&job.input)).push_front(job);
    }

    pub(crate) fn pop(&mut self, class: Class) -> Option<Job> {
        self.queue(class).pop_front()
    }

    /// Takes out the first command of a caller.
    pub(crate) fn pop_command_of_caller(&mut self) -> Option<Job> {
        let at = self.commands.iter().position(Job::is_command_of_caller)?;
        self.commands.remove(at)
    }

    /// Returns the input that would be taken last among events.
    pub(crate) fn last_event(&self) -> Option<&Input> {
        self.events.back().map(|it| &it.input)
    }

    /// Takes out the input that would be taken last among events.
    pub(crate) fn drop_last_event(&mut self) {
        self.events.pop_back();
    }

    /// Takes out what callers wait for; other instances wait on.
    pub(crate) fn take_callers(&mut self) -> Vec<Job> {
        let mut taken = Vec::new();
        for class in [Class::Command, Class::Outcome, Class::Event] {
            let queue = self.queue(class);
            let (callers, rest): (VecDeque<Job>, VecDeque<Job>) =
                queue.drain(..).partition(|job| matches!(job.origin, Origin::Caller(..)));
            *queue = rest;
            taken.extend(callers);
        }
        taken
    }

    fn queue(&mut self, class: Class) -> &mut VecDeque<Job> {
        match class {
            Class::Command => &mut self.commands,
            Class::Outcome => &mut self.outcomes,
            Class::Event => &mut self.events,
        }
    }
}
