//! Parents and children: each learns of the other's end.
//!
//! Who wants to know asks the owner of the other one (`attend`), once it is there and again after
//! every restart; the owner tells at once when that one has ended, or when it ends. Nothing of this
//! is durable, because both sides ask again by themselves.
//!
//! Invariant: a parent lists a child before the child is started. A child that its parent does not
//! list, or no longer wants, is therefore told to end.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use traaviis_model::{
    Call, EffectError, InstanceId, Snapshot, TenantCtx, TenantId, Text, Value,
    record::{Ending, Lineage, ParentClose, Status},
    snapshot::NodeStatus,
};
use traaviis_ports::LogError;

use traaviis_engine::{Birth, Input, Machine, Marks};

use super::{
    Command, Found, Job, Key, Message, Owner, Start, StartOutcome,
    between::{optional_text, text},
};
use crate::{error::Error, summary::Summary};

/// What the one who attends is to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Its parent.
    Parent,
    /// Its child.
    Child,
}

impl Owner {
    // --- Starting ---------------------------------------------------------------------------

    /// Performs a `spawn_fsm`: posts the start of the child.
    pub(super) fn spawn(&self, ctx: &TenantCtx, call: &Call) -> Result<(), EffectError> {
        let parent = Key { tenant: ctx.tenant(), id: call.id.instance };
        let Some(instance) = self.instances.get(&parent) else { return Ok(()) };
        let id = child_of(call)?;
        let workflow = text(&call.input, "workflow")?;
        let version = optional_text(&call.input, "version")?;
        let found = self.settings.library.find(ctx, &workflow, version.as_deref());
        let machine = found.map_err(|why| EffectError::new("not_found", why))?;
        let birth = Birth {
            lineage: Some(Box::new(lineage(&instance.snapshot, id))),
            correlation: optional_text(&call.input, "correlation")?,
            marks: Some(marks(&machine, &call.input)?),
            created_by: instance.snapshot.created_by.clone(),
            is_taken: false,
            subject: instance.snapshot.subject.clone(),
        };
        let input = match call.input.get("input") {
            None | Some(Value::Null) => Value::empty_map(),
            Some(input) => input.clone(),
        };
        let reply = self.reply_to_spawn(ctx, call, id);
        let start = Start { ctx: ctx.clone(), machine, id, input, birth, reply };
        self.settings.post.post(Key { tenant: parent.tenant, id }, Message::Start(start));
        Ok(())
    }

    fn reply_to_spawn(
        &self,
        ctx: &TenantCtx,
        call: &Call,
        child: InstanceId,
    ) -> super::Reply<StartOutcome> {
        let post = std::sync::Arc::clone(&self.settings.post);
        let waits = call.input.get("wait") == Some(&Value::Bool(true));
        let (ctx, call) = (ctx.clone(), call.id.clone());
        let (tenant, by) = (ctx.tenant(), call.instance);
        Box::new(move |answer| {
            let parent = Key { tenant, id: by };
            let error = match answer {
                Ok(_) => {
                    let message = match waits {
                        true => Message::Yield { tenant, call },
                        false => Message::Outcome { tenant, call, outcome: Ok(started(child)) },
                    };
                    post.post(parent, message);
                    let relation = Relation::Parent;
                    let message = Message::Attend { ctx, of: child, by, relation };
                    return post.post(Key { tenant, id: child }, message);
                }
                Err(error) => error,
            };
            let refused = match &error {
                Error::Rejected(_) | Error::Unavailable { .. } | Error::NoKey(_) => true,
                Error::Log(error) => matches!(error, LogError::Refused(_) | LogError::Damaged(_)),
                _ => false,
            };
            // Else the process is ending, and the next one asks again.
            if refused {
                let error = EffectError::new(error.code(), error.to_string());
                post.post(parent, Message::Yield { tenant, call });
                post.post(parent, not_started(tenant, by, child, error));
            }
        })
    }

    /// Tells an instance that its child could not be started.
    pub(super) fn refuse_spawn(&self, ctx: &TenantCtx, call: Call, error: EffectError) {
        let tenant = ctx.tenant();
        let parent = Key { tenant, id: call.id.instance };
        let Ok(child) = child_of(&call) else { return };
        self.settings.post.post(parent, Message::Yield { tenant, call: call.id });
        self.settings.post.post(parent, not_started(tenant, parent.id, child, error));
    }

    // --- Ending -----------------------------------------------------------------------------

    /// Tells a child that it is no longer wanted. What has ended already is not told.
    pub(super) fn close_child(&self, ctx: &TenantCtx, child: InstanceId) {
        let reason = Some("its parent no longer waits for it".into());
        let command = Command::Cancel { terminate: false, reason };
        let to = Key { tenant: ctx.tenant(), id: child };
        // A child that begins later asks its parent, and is told then.
        let reply = Box::new(|_| ());
        self.settings
            .post
            .post(to, Message::Deliver { ctx: ctx.clone(), id: child, command, reply });
    }

    /// Asks about the family of an instance that recovery found, and tells whom it must.
    pub(super) fn meet_family(&self, ctx: &TenantCtx, snapshot: &Snapshot) {
        self.attend_parent(ctx, snapshot);
        for (child, known) in &snapshot.children {
            if known.closing {
                self.close_child(&ctx.because_of(snapshot.id, snapshot.seq), *child);
            }
            // A start without answer is asked for again, and leads to the same question.
            let node = snapshot.node(known.tree, &known.path);
            let is_starting = node.is_some_and(|it| {
                it.status == NodeStatus::Started && child_id(&it.input) == Some(*child)
            });
            if !is_starting {
                let to = Key { tenant: ctx.tenant(), id: *child };
                let (of, by, relation) = (*child, snapshot.id, Relation::Parent);
                self.settings.post.post(to, Message::Attend { ctx: ctx.clone(), of, by, relation });
            }
        }
    }

    /// Asks to be told of the end of the parent.
    pub(super) fn attend_parent(&self, ctx: &TenantCtx, snapshot: &Snapshot) {
        let Some(lineage) = &snapshot.lineage else { return };
        if lineage.parent_close == ParentClose::Abandon || snapshot.status.is_finished() {
            return;
        }
        let (of, by, relation) = (lineage.parent_id, snapshot.id, Relation::Child);
        let to = Key { tenant: ctx.tenant(), id: of };
        self.settings.post.post(to, Message::Attend { ctx: ctx.clone(), of, by, relation });
    }

    /// Tells `by` of the end of `of`, now or when it comes.
    pub(super) fn attend(
        &mut self,
        ctx: &TenantCtx,
        of: InstanceId,
        by: InstanceId,
        relation: Relation,
    ) {
        let key = Key { tenant: ctx.tenant(), id: of };
        let ending = match self.find(key.tenant, of) {
            Ok(Found::Open(snapshot)) => {
                let is_wanted = match relation {
                    Relation::Parent => true,
                    Relation::Child => snapshot.children.get(&by).is_some_and(|it| !it.closing),
                };
                if is_wanted {
                    self.attending.entry(key).or_default().insert(by);
                    return;
                }
                Ending {
                    status: Status::Cancelled,
                    output: Value::Null,
                    error: None,
                    terminated: false,
                }
            }
            Ok(Found::Ended(summary)) => self.ending_of(ctx, &summary),
            Err(Error::NotFound { .. }) => match self.forgotten(ctx, of) {
                Some(summary) => self.ending_of(ctx, &summary),
                None => {
                    let message = format!("instance `{of}` does not exist");
                    failed(EffectError::new("not_found", message))
                }
            },
            // It may be mended; until then nothing is known about it.
            Err(_) => return,
        };
        self.tell_end(Key { tenant: key.tenant, id: by }, of, ending);
    }

    /// Takes the news that another instance ended.
    pub(super) fn heard_end(&mut self, key: Key, of: InstanceId, ending: Ending) {
        if let Some(children) = self.attending.get_mut(&key) {
            children.remove(&of);
        }
        self.activate(key);
        let Some(instance) = self.instances.get_mut(&key) else { return };
        let input = Input::Ended { instance: of, ending };
        instance.mailbox.get_or_insert_default().push(Job::runtime(input));
        self.ready.push_back(key);
    }

    /// Tells everybody who attends to an instance that it has ended.
    pub(super) fn tell_family(&mut self, key: Key, snapshot: &Snapshot) {
        for by in self.attending.remove(&key).unwrap_or_default() {
            let to = Key { tenant: key.tenant, id: by };
            self.tell_end(to, key.id, ending(snapshot));
        }
    }

    fn tell_end(&self, to: Key, of: InstanceId, ending: Ending) {
        let message = Message::Ended { tenant: to.tenant, to: to.id, of, ending };
        self.settings.post.post(to, message);
    }

    /// Returns how an instance ended, asking the past for what memory does not keep.
    fn ending_of(&self, ctx: &TenantCtx, summary: &Summary) -> Ending {
        let past = self.settings.past.as_ref().filter(|_| !summary.whole);
        let kept = past.and_then(|past| past.ended(ctx, summary.id, summary.seq).ok().flatten());
        match kept {
            Some(snapshot) => ending(&snapshot),
            None => Ending {
                status: summary.status,
                output: summary.output.clone(),
                error: summary.error.clone(),
                terminated: summary.terminated,
            },
        }
    }

    /// Returns an ended instance that memory may have forgotten.
    pub(super) fn forgotten(&self, ctx: &TenantCtx, id: InstanceId) -> Option<Summary> {
        if !self.settings.forgets.load(Ordering::SeqCst) {
            return None;
        }
        let found = self.settings.past.as_ref()?.ended(ctx, id, 0).ok()??;
        Some(Summary::of(&found))
    }
}

fn lineage(parent: &Snapshot, child: InstanceId) -> Lineage {
    let above = parent.lineage.as_deref();
    Lineage {
        parent_id: parent.id,
        root_id: above.map_or(parent.id, |it| it.root_id),
        depth: above.map_or(0, |it| it.depth) + 1,
        parent_close: parent.children.get(&child).map(|it| it.parent_close).unwrap_or_default(),
    }
}

/// Returns the tags and labels of a child: those of its workflow and those of the call.
fn marks(machine: &Machine, input: &Value) -> Result<Marks, EffectError> {
    let given = match input.get("tags") {
        None | Some(Value::Null) => BTreeSet::new(),
        Some(tags) => texts(tags).ok_or_else(|| {
            let message = format!("`tags` must be a list of texts, found `{}`", tags.to_json());
            EffectError::new("validation_failed", message)
        })?,
    };
    let given = Marks { tags: given, ..Marks::default() };
    let marks = Marks::of(machine.definition()).with(given);
    marks.map_err(|why| EffectError::new(why.code, why.message))
}

fn texts(list: &Value) -> Option<BTreeSet<Text>> {
    list.as_list()?.iter().map(|it| it.as_str().map(Text::from)).collect()
}

fn child_id(input: &Value) -> Option<InstanceId> {
    input.get("instance_id").and_then(Value::as_str).and_then(|it| it.parse().ok())
}

fn child_of(call: &Call) -> Result<InstanceId, EffectError> {
    child_id(&call.input)
        .ok_or_else(|| EffectError::new("validation_failed", "the child has no id"))
}

fn started(child: InstanceId) -> Value {
    Value::map([("instance_id", Value::from(child.to_string()))])
}

fn ending(snapshot: &Snapshot) -> Ending {
    Ending {
        status: snapshot.status,
        output: snapshot.output.clone(),
        error: snapshot.error.as_deref().cloned(),
        terminated: snapshot.terminated,
    }
}

fn failed(error: EffectError) -> Ending {
    Ending { status: Status::Failed, output: Value::Null, error: Some(error), terminated: false }
}

fn not_started(
    tenant: TenantId,
    parent: InstanceId,
    child: InstanceId,
    error: EffectError,
) -> Message {
    Message::Ended { tenant, to: parent, of: child, ending: failed(error) }
}
