//! Erasure: the key of a person is destroyed, and the log says so.
//!
//! In this order: nothing about the person is open any more, the key is destroyed, the log holds a
//! document that names the key and the instances. Whatever is interrupted is done by doing it
//! again: a destroyed key stays destroyed, and a document that is there is not written twice.
//!
//! Invariant: an instance that is open never loses its values; what begins while the key is being
//! destroyed is ended, or seals with another key.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};
use traaviis_model::{
    DefinitionHash, Header, InstanceId, Record, TenantCtx, Value,
    permission::Permission,
    record::{Body, RECORD_VERSION, WHOLE},
};
use traaviis_ports::{Append, LogError, LogStore, append_alone, index::Query};
use traaviis_runtime::index::overlay::row_of_ended;
use traaviis_store::keys::subject::{Destroyed, Erased, SubjectName};

use crate::{
    clock,
    control::protocol::LIST_MAX,
    data::Data,
    exit::{Exit, Failure},
    histories::Histories,
};

/// Kind of the document that tells of an erasure.
const ERASURE: &str = "erasure";
/// Times that instances may begin anew while they are looked for.
const ROUNDS_MAX: u32 = 3;
/// Longest wait for the log.
const COMMIT_MAX: Duration = Duration::from_secs(30);
/// Instances that a refusal names.
const NAMED_MAX: usize = 10;

/// What happens to instances that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Nothing is erased.
    Refuse,
    /// They are ended at once.
    Terminate,
}

/// Returns the name of the key of a person.
pub fn name(histories: &Histories, subject: &str) -> Result<Json, Failure> {
    let Some(erased) = histories.key_of(subject)? else { return Err(unknown(subject)) };
    Ok(json!({ "key": erased.name.to_string() }))
}

/// Returns what instances keep about a person: those sealed with their key, and those that one of
/// the names is the business key or a tag of.
pub fn export(
    histories: &Histories,
    ctx: &TenantCtx,
    subject: &str,
    names: &[String],
) -> Result<Json, Failure> {
    permitted(ctx, Permission::AuditLogsView, "export what is kept about a person")?;
    let found = histories.about(subject)?;
    let certain = found.as_ref().map(|it| it.instances.clone()).unwrap_or_default();
    let mut named = BTreeSet::new();
    for name in names {
        named.extend(named_by(histories, name)?);
    }
    let named: BTreeSet<InstanceId> = named.difference(&certain).copied().collect();
    if found.is_none() && named.is_empty() {
        return Err(unknown(subject));
    }
    Ok(json!({
        "subject": subject,
        "key": found.as_ref().map(|it| it.erased.name.to_string()),
        "erased": found.map(|it| erasures(&it.erased)).unwrap_or_default(),
        "instances": whole(histories, &certain)?,
        "named": whole(histories, &named)?,
    }))
}

/// Returns instances with all their records.
fn whole(histories: &Histories, ids: &BTreeSet<InstanceId>) -> Result<Vec<Json>, Failure> {
    let one = |id: &InstanceId| {
        let records: Result<Vec<Json>, _> = histories.records(*id)?.iter().map(to_json).collect();
        Ok(json!({
            "snapshot": histories.show(*id)?,
            "records": records.map_err(|it| Failure::finding("record_unreadable", it))?,
        }))
    };
    ids.iter().map(one).collect()
}

/// Finds the instances that have a text as their business key or as a tag, archived ones too.
fn named_by(histories: &Histories, name: &str) -> Result<BTreeSet<InstanceId>, Failure> {
    let by_key = Query { correlation: Some(name.into()), limit: LIST_MAX, ..Query::default() };
    let by_tag = Query { tags: [name.into()].into(), limit: LIST_MAX, ..Query::default() };
    let mut found = BTreeSet::new();
    for mut query in [by_key.clone(), by_tag.clone()] {
        loop {
            let page = histories.page(&query)?;
            found.extend(page.rows.iter().map(|it| it.id));
            query.after = page.next;
            if page.next.is_none() {
                break;
            }
        }
    }
    let mut after = None;
    loop {
        let page = histories.archived(after, LIST_MAX)?;
        let is_last = page.len() < LIST_MAX;
        for (id, summary) in page {
            after = Some(id);
            // One that cannot be read is named nowhere; `doctor` tells of it.
            let Ok(summary) = summary else { continue };
            let row = row_of_ended(&summary);
            if by_key.takes(&row) || by_tag.takes(&row) {
                found.insert(id);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
}

fn to_json(record: &Record) -> Result<Json, String> {
    let mut line = Vec::new();
    record.write_line(&mut line);
    serde_json::from_slice(&line).map_err(|error| error.to_string())
}

/// Erases a person.
pub fn erase(
    histories: &Histories,
    data: &Data,
    subject: &str,
    open: Open,
) -> Result<Json, Failure> {
    let ctx = data.ctx();
    permitted(ctx, Permission::TenantSettings, "erase a person")?;
    if subject == WHOLE {
        let message = format!("`{WHOLE}` stands for all that is about nobody, and is no person");
        return Err(Failure::finding("subject_invalid", message));
    }
    let Some(mut found) = histories.about(subject)? else { return Err(unknown(subject)) };
    let (mut is_new, mut ended) = (false, BTreeSet::new());
    for round in 0..ROUNDS_MAX {
        let left = open_of(data, &found.instances)?;
        if round > 0 && left.is_empty() {
            break;
        }
        // Those that began while the key went can be read by nobody.
        if open == Open::Refuse && round == 0 && !left.is_empty() {
            return Err(still_open(subject, &left));
        }
        for id in left {
            data.cancel(id, true, Some("its data subject is erased"))?;
            ended.insert(id);
        }
        let left = open_of(data, &found.instances)?;
        if !left.is_empty() {
            return Err(still_open(subject, &left));
        }
        let erased = data.log().subjects().erase(ctx.tenant(), subject, clock::now())?;
        let Some(erased) = erased else { return Err(unknown(subject)) };
        is_new |= erased.is_new;
        for destroyed in &erased.destroyed {
            note(data, ctx, erased.name, *destroyed, &found.instances)?;
        }
        found.erased = erased;
        let again = data.log().instances_of(ctx, found.erased.name)?;
        found.instances.extend(again);
    }
    Ok(json!({
        "subject": subject,
        "key": found.erased.name.to_string(),
        "erased": erasures(&found.erased),
        "is_new": is_new,
        "instances": found.instances,
        "terminated": ended,
    }))
}

/// Returns the keys that were destroyed and of which the log says nothing: of each, an erasure was
/// broken off.
pub fn unfinished(
    log: &dyn LogStore,
    ctx: &TenantCtx,
    destroyed: &[(SubjectName, Destroyed)],
) -> Result<Vec<(SubjectName, Destroyed)>, LogError> {
    let mut found = Vec::new();
    for (name, it) in destroyed {
        if log.read(ctx, stream_of(*name, it.version), 1, 1)?.is_empty() {
            found.push((*name, *it));
        }
    }
    Ok(found)
}

/// Says in the log what erasures that were broken off have destroyed; nobody has to know any more
/// of whom.
pub fn finish(data: &Data) -> Result<Json, Failure> {
    let ctx = data.ctx();
    permitted(ctx, Permission::TenantSettings, "finish erasures")?;
    let log = data.log();
    let keys = log.subjects().inspect(ctx.tenant())?;
    let mut finished = Vec::new();
    for (name, destroyed) in unfinished(&**log, ctx, &keys.destroyed)? {
        let instances = log.instances_of(ctx, name)?;
        note(data, ctx, name, destroyed, &instances)?;
        finished.push(json!({
            "key": name.to_string(),
            "version": destroyed.version,
            "at": destroyed.at,
            "instances": instances,
        }));
    }
    Ok(json!({ "finished": finished }))
}

fn erasures(erased: &Erased) -> Vec<Json> {
    erased.destroyed.iter().map(|it| json!({ "version": it.version, "at": it.at })).collect()
}

/// Returns the instances among these that have not ended.
fn open_of(data: &Data, instances: &BTreeSet<InstanceId>) -> Result<Vec<InstanceId>, Failure> {
    let mut open = Vec::new();
    for id in instances {
        if data.state(*id)?.is_some_and(|it| !it.status.is_finished()) {
            open.push(*id);
        }
    }
    Ok(open)
}

/// Writes into the log which key was destroyed, and whom that concerns, unless it is there.
fn note(
    data: &Data,
    ctx: &TenantCtx,
    name: SubjectName,
    destroyed: Destroyed,
    instances: &BTreeSet<InstanceId>,
) -> Result<(), Failure> {
    let Destroyed { version, at } = destroyed;
    let stream = stream_of(name, version);
    if !data.log().read(ctx, stream, 1, 1)?.is_empty() {
        return Ok(());
    }
    let text = |it: String| Value::from(it.as_str());
    let body = Value::map([
        ("key", text(name.to_string())),
        ("version", Value::Int(version.cast_signed())),
        ("destroyed_at", text(at.to_string())),
        ("instances", Value::list(instances.iter().map(|it| text(it.to_string())))),
    ]);
    let header = Header {
        tenant_id: ctx.tenant(),
        instance_id: stream,
        seq: 1,
        v: RECORD_VERSION,
        at: clock::now(),
        step: 1,
        // No definition has decided it.
        definition_hash: DefinitionHash([0; 32]),
        actor: ctx.actor().clone(),
        causation_id: None,
        correlation_id: None,
        origin: None,
    };
    let id = stream.to_string().into();
    let record = Record { header, body: Body::DocumentPut { document: ERASURE.into(), id, body } };
    let mut lines = Vec::new();
    record.write_line(&mut lines);
    let append = Append {
        stream,
        first_seq: 1,
        count: 1,
        lines: lines.into(),
        ends_stream: true,
        known_to: 0,
        subject: None,
    };
    commit(&**data.log(), ctx, append)
}

/// Returns the stream of the document that tells of a destroyed key; the same whenever it is asked.
fn stream_of(name: SubjectName, version: u64) -> InstanceId {
    InstanceId::of_hash(&Sha256::digest(format!("{ERASURE} {name} {version}")).into())
}

fn commit(log: &dyn LogStore, ctx: &TenantCtx, append: Append) -> Result<(), Failure> {
    match append_alone(log, ctx, append).recv_timeout(COMMIT_MAX) {
        // Somebody else has told of it.
        Ok(Ok(_) | Err(LogError::SeqMismatch { last: 1.., .. })) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::finding("timeout", "the log did not answer in time")),
    }
}

fn permitted(ctx: &TenantCtx, permission: Permission, what: &str) -> Result<(), Failure> {
    if ctx.may(permission) {
        return Ok(());
    }
    let (name, missing) = (&ctx.actor().id, permission.as_str());
    let role = ctx.role().map_or("engine", |it| it.as_str());
    let message = format!("`{name}` may not {what}: the role `{role}` has no `{missing}`");
    Err(Failure::new(Exit::Denied, "permission_denied", message))
}

fn unknown(subject: &str) -> Failure {
    let message = format!(
        "nothing is kept with a key of subject `{subject}`; a workflow names the person it is \
         about with `subject`"
    );
    Failure::finding("subject_unknown", message)
}

fn still_open(subject: &str, open: &[InstanceId]) -> Failure {
    let named: Vec<String> = open.iter().take(NAMED_MAX).map(|it| format!("`{it}`")).collect();
    let more = match open.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "nothing was erased: about subject `{subject}` these have not ended: {}{more}; let them \
         end, cancel them, or end them at once with `--terminate`",
        named.join(", "),
    );
    Failure::finding("subject_in_use", message)
}
