//! What is kept about a person, place by place: in one tenant, for who may ask there, and in all of
//! them, for the person themselves.
//!
//! A place is a kind of documents, or something that is no document: the audit trail, open tasks,
//! what webhooks were told. Each is looked through whole, and by the exact texts that stand for the
//! person, so the answer does not depend on whoever adds a field to a document. Of kinds with a row
//! in [`PLACES`] the named fields are told, of all others only which documents name the person and
//! where; so no material of proof (hashes, sealed values) can leave with an export.
//!
//! Invariant: every place is named in the answer, those in which nothing is too.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json, json};
use traaviis_model::{TenantCtx, TenantId, UserId, limits::SUBJECT_CHARS_MAX, tenant::PLATFORM};
use traaviis_ports::DocumentQuery;

use crate::{
    ask::Ask,
    audit::Act,
    caller::{Caller, Entered, named_in},
    engine::Engine,
    error::Error,
    ledger::{DELIVERY, Document, MADE_BY_PEOPLE},
    members::found as member_of,
    platform::Platform,
    session::Session,
    tenant::{Invitation, Tenant},
    user::{self, User},
};

/// Items of one export: about 100 MB of JSON, which an answer still holds in memory. What is more
/// is refused, since a part would look like the whole.
pub const EXPORT_ITEMS_MAX: usize = 100_000;
/// Rows read at once.
const PAGE: usize = 1_000;

/// A place, and what of its documents is told.
struct Place {
    kind: &'static str,
    part: &'static str,
    rule: &'static str,
    told: &'static [&'static str],
}

const fn place(
    kind: &'static str,
    part: &'static str,
    rule: &'static str,
    told: &'static [&'static str],
) -> Place {
    Place { kind, part, rule, told }
}

/// Kinds of which more is told than that they name the person.
const PLACES: &[Place] = &[
    place(
        "member",
        "membership",
        "the membership of the person, and those to which they invited",
        &["user_id", "role", "permissions", "data_access", "status", "joined_at", "invited_by"],
    ),
    place(
        "api_key",
        "api_keys",
        "keys that the person made, by name; never what proves them",
        &["id", "name", "created_by", "created_at", "expires_at", "last_used_at"],
    ),
    place(
        "service_account",
        "service_accounts",
        "service accounts that the person made",
        &["id", "name", "created_by", "created_at"],
    ),
    place(
        "secret",
        "secrets",
        "secrets that the person set last, by name; never their values",
        &["name", "set_by", "used_at"],
    ),
    place(
        "webhook",
        "webhooks",
        "webhooks that the person made",
        &["id", "url", "description", "made_by", "made_at"],
    ),
    place(
        "transfer",
        "transfers",
        "an ownership that is offered by or to the person",
        &["from", "to", "expires_at"],
    ),
    place(
        "break_glass",
        "break_glass",
        "times in which the person may read as who looks after the platform",
        &["user_id", "reason", "until"],
    ),
];

/// Other parts, each with its rule.
const INVITATIONS: (&str, &str) =
    ("invitations", "open invitations to the e-mail address, and those that the person wrote");
const SESSIONS: (&str, &str) = (
    "sessions",
    "sessions of the person that count in this tenant alone; those of the account are told to \
     the person only",
);
const AUDIT: (&str, &str) =
    ("audit", "entries of acts by the person or a key of theirs, and those that name them");
const ROLES: (&str, &str) =
    ("role_history", "entries of the trail about the membership, oldest first");
const TASK_ACTS: (&str, &str) = ("task_acts", "tasks that the person claimed, commented, decided");
const TASKS: (&str, &str) = ("tasks", "open tasks that ask the person, or that they have acted on");
const DOCUMENTS: (&str, &str) =
    ("documents", "every other document that names the person: its kind, its id, and where");
const DELIVERIES: (&str, &str) =
    ("webhook_deliveries", "what webhooks were told of instances about the person");
const NAMED: (&str, &str) =
    ("instances_named", "instances whose business key or a tag is exactly the text asked by");
const INSTANCES: (&str, &str) =
    ("instances", "certain: instances whose values are sealed with the key of the person");
const USAGE: (&str, &str) = ("usage", "usage is counted for the tenant and for no person");

/// Texts that stand for somebody, each matched exactly.
struct Person {
    names: BTreeSet<String>,
    user: Option<UserId>,
}

impl Person {
    /// Says whether a text is one of them, alone or behind the word of a kind.
    fn is(&self, text: &str) -> bool {
        let bare = ["user:", "key:"].iter().find_map(|it| text.strip_prefix(it));
        self.names.contains(bare.unwrap_or(text))
    }

    /// Returns the places in a value at which they are named, as JSON pointers.
    fn places_in(&self, value: &Json) -> Vec<String> {
        let mut places = Vec::new();
        self.visit(value, &mut String::new(), &mut places);
        places
    }

    fn visit(&self, value: &Json, at: &mut String, places: &mut Vec<String>) {
        let from = at.len();
        match value {
            Json::String(text) if self.is(text) => places.push(at.clone()),
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    at.push_str(&format!("/{index}"));
                    self.visit(item, at, places);
                    at.truncate(from);
                }
            }
            Json::Object(fields) => {
                for (key, item) in fields {
                    at.push('/');
                    at.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    self.visit(item, at, places);
                    at.truncate(from);
                }
            }
            _ => (),
        }
    }

    fn is_in(&self, value: &Json) -> bool {
        match value {
            Json::String(text) => self.is(text),
            Json::Array(items) => items.iter().any(|it| self.is_in(it)),
            Json::Object(fields) => fields.values().any(|it| self.is_in(it)),
            _ => false,
        }
    }
}

/// What was found, by place.
struct Parts {
    found: BTreeMap<&'static str, (&'static str, Vec<Json>)>,
    left: usize,
}

impl Parts {
    fn new(items_max: usize) -> Parts {
        Parts { found: BTreeMap::new(), left: items_max }
    }

    /// Names a place, whether or not there will be anything in it.
    fn name(&mut self, (part, rule): (&'static str, &'static str)) {
        self.found.entry(part).or_insert((rule, Vec::new()));
    }

    fn add(&mut self, named: (&'static str, &'static str), item: Json) -> Result<(), Error> {
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let message = format!(
                "more than {EXPORT_ITEMS_MAX} things are kept about this person, more than an \
                 answer holds; take out the trail (`audit export`) and the histories (`export`)"
            );
            Error::new("payload_too_large", message)
        })?;
        self.name(named);
        self.found.entry(named.0).and_modify(|it| it.1.push(item));
        Ok(())
    }

    fn add_all(
        &mut self,
        named: (&'static str, &'static str),
        items: impl IntoIterator<Item = Json>,
    ) -> Result<(), Error> {
        self.name(named);
        items.into_iter().try_for_each(|it| self.add(named, it))
    }

    fn is_empty(&self) -> bool {
        self.found.values().all(|it| it.1.is_empty())
    }

    /// Returns the parts, and the names of those in which nothing is.
    fn told(self) -> (Json, Vec<&'static str>) {
        let empty = self.found.iter().filter(|it| it.1.1.is_empty()).map(|it| *it.0).collect();
        let told = |(part, (rule, items)): (&str, (&str, Vec<Json>))| {
            (part.to_owned(), json!({ "rule": rule, "count": items.len(), "items": items }))
        };
        (Json::Object(self.found.into_iter().map(told).collect()), empty)
    }
}

/// Whose entries of a trail are told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entries {
    /// By the person, and about them.
    ByAndAbout,
    /// By the person alone: in others, others are named.
    By,
}

impl Platform {
    /// Returns everything that is kept about a person in a tenant, by the name of their key, their
    /// id or their e-mail address. That it was taken out stands in the audit trail before anybody
    /// sees it.
    pub fn export_subject(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        subject: &str,
    ) -> Result<Json, Error> {
        if !(1..=SUBJECT_CHARS_MAX).contains(&subject.chars().count()) {
            let message = format!("give 1 to {SUBJECT_CHARS_MAX} characters");
            return Err(Error::invalid("/subject", message));
        }
        let found = self.about_subject(entered, engine, subject);
        let key = found.as_ref().ok().and_then(|it| it["key"].as_str()).unwrap_or("unknown");
        let act = Act::done("subject.exported", "subject", key);
        let act = match &found {
            Ok(found) => {
                let count = found["parts"][INSTANCES.0]["count"].clone();
                act.with(json!({ "count": count }))
            }
            Err(error) => act.failed().with(json!({ "code": error.code })),
        };
        self.note_in(entered, act)?;
        found
    }

    fn about_subject(
        &self,
        entered: &Entered,
        engine: &dyn Engine,
        subject: &str,
    ) -> Result<Json, Error> {
        let ctx = &entered.ctx;
        let mut person = self.person_named(ctx, subject)?;
        let names = person.names.iter().cloned().collect();
        let ask = Ask::ExportSubject { subject: subject.into(), names };
        let (found, unknown) = match engine.ask(ctx, ask) {
            Ok(found) => (found, None),
            Err(error) if &*error.code == "subject_unknown" => (json!({}), Some(error)),
            Err(error) => return Err(error),
        };
        let list = |key: &str| found[key].as_array().cloned().unwrap_or_default();
        let mut parts = Parts::new(EXPORT_ITEMS_MAX);
        parts.add_all(INSTANCES, list("instances"))?;
        parts.add_all(NAMED, list("named"))?;
        let about = ["instances", "named"].iter().flat_map(|it| list(it));
        let about = about.filter_map(|it| Some(it["snapshot"]["id"].as_str()?.to_owned()));
        self.deliveries_about(ctx, &about.collect(), &mut parts)?;
        self.invitations_of(entered, &person, &mut parts)?;
        self.sessions_in(ctx.tenant(), &person, &mut parts)?;
        self.documents_of(ctx, &mut person, &mut parts)?;
        self.tasks_of(ctx, engine, &person, &mut parts)?;
        // The trail names a person by the name of their key.
        person.names.extend(found["key"].as_str().map(str::to_owned));
        self.entries_of(ctx, &person, Entries::ByAndAbout, &mut parts)?;
        parts.name(USAGE);
        if let Some(error) = unknown
            && parts.is_empty()
        {
            return Err(error);
        }
        let (parts, empty) = parts.told();
        Ok(json!({
            "subject": subject,
            "user": person.user,
            "key": found["key"],
            "erased": found.get("erased").cloned().unwrap_or_else(|| json!([])),
            "parts": parts,
            "empty": empty,
        }))
    }

    /// Returns everything that is kept about the caller: the account itself, and each tenant they
    /// are in. That it was taken out stands in the trail of the platform before they see it.
    pub fn export_account(&self, caller: &Caller, engine: &dyn Engine) -> Result<Json, Error> {
        caller.session()?;
        let (id, platform) = (caller.user, TenantCtx::platform());
        let account = self.account(id)?;
        let mut person = Person {
            names: BTreeSet::from([id.to_string(), account.personal.email.clone()]),
            user: Some(id),
        };
        let mut parts = Parts::new(EXPORT_ITEMS_MAX);
        let named = ("sessions", "sessions of the account, without what proves them");
        let prefix = format!("{id}/");
        let sessions = self.ledgers.read(&platform, |it| it.list::<Session>(&prefix))?;
        parts.add_all(named, sessions.iter().map(|it| session_told(&it.it)))?;
        self.entries_of(&platform, &person, Entries::By, &mut parts)?;
        let mut left = parts.left;
        let mut tenants = Vec::new();
        for tenant in self.lookup(|it| it.tenants(id)) {
            let ctx = named_in(caller, tenant);
            let mut of_tenant = Parts::new(left);
            self.documents_of(&ctx, &mut person, &mut of_tenant)?;
            self.tasks_of(&ctx, engine, &person, &mut of_tenant)?;
            self.entries_of(&ctx, &person, Entries::By, &mut of_tenant)?;
            left = of_tenant.left;
            let about = self.ledgers.read(&ctx, |it| it.get::<Tenant>("tenant"))?;
            let (of_tenant, empty) = of_tenant.told();
            tenants.push(json!({
                "id": tenant,
                "name": about.map(|it| it.name),
                "parts": of_tenant,
                "empty": empty,
            }));
        }
        let act = Act::done("user.exported", User::KIND, id.to_string());
        let count = EXPORT_ITEMS_MAX - left;
        self.ledgers.change(&caller.on_platform(), &caller.via, |_, changes| {
            changes.act(act.with(json!({ "count": count, "tenants": tenants.len() })));
            Ok(())
        })?;
        let (parts, empty) = parts.told();
        Ok(json!({
            "account": account_told(&account),
            "parts": parts,
            "empty": empty,
            "tenants": tenants,
        }))
    }

    /// Finds whom a text means. Who is no member is nobody: an account elsewhere is none of the
    /// tenant's business, not even whether it is there.
    fn person_named(&self, ctx: &TenantCtx, text: &str) -> Result<Person, Error> {
        let text = text.trim();
        let mut names = BTreeSet::from([text.to_owned()]);
        let user = match (text.parse::<UserId>(), user::email(text)) {
            (Ok(id), _) => Some(id),
            (_, Ok(email)) => {
                let user = self.lookup(|it| it.user(&email));
                names.insert(email);
                user
            }
            _ => None,
        };
        let user = user.map(|id| self.ledgers.read(ctx, |it| member_of(it, id).map(|_| id)));
        let user = user.and_then(Result::ok);
        names.extend(user.map(|it| it.to_string()));
        Ok(Person { names, user })
    }

    fn invitations_of(
        &self,
        entered: &Entered,
        person: &Person,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        let invited = self.invitations(entered)?;
        let theirs = invited
            .into_iter()
            .filter(|it| person.is(&it.email) || person.is(&it.invitation.invited_by.to_string()))
            .map(|it| {
                json!({
                    "id": it.invitation.id,
                    "email": it.email,
                    "role": it.invitation.role,
                    "invited_by": it.invitation.invited_by,
                    "expires_at": it.invitation.expires_at,
                    "sent_count": it.invitation.sent_count,
                })
            });
        parts.add_all(INVITATIONS, theirs)
    }

    fn sessions_in(
        &self,
        tenant: TenantId,
        person: &Person,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        parts.name(SESSIONS);
        let Some(user) = person.user else { return Ok(()) };
        let prefix = format!("{user}/");
        let all = self.ledgers.read(&TenantCtx::platform(), |it| it.list::<Session>(&prefix))?;
        let is_there = |it: &Session| it.confined.as_ref().is_some_and(|it| it.tenant_id == tenant);
        let here = all.iter().filter(|it| is_there(&it.it));
        parts.add_all(SESSIONS, here.map(|it| session_told(&it.it)))
    }

    /// Looks through all documents of a tenant. The keys of the person stand for them from then on:
    /// what a key does, they did.
    fn documents_of(
        &self,
        ctx: &TenantCtx,
        person: &mut Person,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        PLACES.iter().for_each(|it| parts.name((it.part, it.rule)));
        parts.name(DOCUMENTS);
        let (mut keys, mut added) = (Vec::new(), Ok(()));
        self.ledgers.read(ctx, |documents| {
            documents.each(&mut |kind, id, body| {
                // The tenant itself is about no person, and invitations were looked at opened.
                if kind == Tenant::KIND || kind == Invitation::KIND || added.is_err() {
                    return;
                }
                added = tell(person, parts, (kind, id), body);
                if kind == "api_key" && is_made_by(person, body) {
                    keys.push(id.to_owned());
                }
            });
        });
        added?;
        for kind in MADE_BY_PEOPLE {
            self.each_row(ctx, kind, &mut |id, body| tell(person, parts, (kind, id), body))?;
        }
        person.names.extend(keys);
        Ok(())
    }

    fn each_row(
        &self,
        ctx: &TenantCtx,
        kind: &str,
        visit: &mut dyn FnMut(&str, &Json) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let after_id = after.as_deref();
            let query =
                DocumentQuery { kind, prefix: "", after: after_id, descending: false, limit: PAGE };
            let rows = self.ledgers.rows(ctx, &query)?;
            for row in &rows {
                let Some(body) = row.body.as_deref() else { continue };
                let body = serde_json::from_slice(body).map_err(|error| {
                    let message = format!("`{kind}` `{}` cannot be read: {error}", row.id);
                    Error::new("documents_failed", message)
                })?;
                visit(&row.id, &body)?;
            }
            if rows.len() < PAGE {
                return Ok(());
            }
            after = rows.last().map(|it| it.id.to_string());
        }
    }

    fn deliveries_about(
        &self,
        ctx: &TenantCtx,
        instances: &BTreeSet<String>,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        parts.name(DELIVERIES);
        if instances.is_empty() {
            return Ok(());
        }
        self.each_row(ctx, DELIVERY, &mut |_, body| {
            let is_theirs = body["instance"].as_str().is_some_and(|it| instances.contains(it));
            if is_theirs { parts.add(DELIVERIES, body.clone()) } else { Ok(()) }
        })
    }

    fn tasks_of(
        &self,
        ctx: &TenantCtx,
        engine: &dyn Engine,
        person: &Person,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        let open = engine.ask(ctx, Ask::Tasks)?;
        let open = open["tasks"].as_array().cloned().unwrap_or_default();
        parts.add_all(TASKS, open.into_iter().filter(|it| is_asked(person, it)))
    }

    fn entries_of(
        &self,
        ctx: &TenantCtx,
        person: &Person,
        which: Entries,
        parts: &mut Parts,
    ) -> Result<(), Error> {
        parts.name(AUDIT);
        if ctx.tenant() != PLATFORM {
            parts.name(ROLES);
            parts.name(TASK_ACTS);
            self.enter_acts()?;
        }
        let user = person.user.map(|it| it.to_string());
        let mut after = 0;
        loop {
            let page = self.entries_after(ctx, after)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last["seq"].as_u64().unwrap_or(u64::MAX);
            for entry in page {
                let action = entry["action"].as_str().unwrap_or_default();
                let is_by = entry["actor"]["id"].as_str().is_some_and(|it| person.is(it));
                let is_role = action.starts_with("member.")
                    && user.is_some()
                    && entry["resource_id"].as_str() == user.as_deref();
                if is_role {
                    parts.add(ROLES, entry.clone())?;
                }
                if is_by && action.starts_with("task.") {
                    parts.add(TASK_ACTS, entry.clone())?;
                }
                if is_by || which == Entries::ByAndAbout && person.is_in(&entry) {
                    parts.add(AUDIT, entry)?;
                }
            }
        }
    }
}

/// Tells of a document what may be told, if it names the person.
fn tell(
    person: &Person,
    parts: &mut Parts,
    (kind, id): (&str, &str),
    body: &Json,
) -> Result<(), Error> {
    let Some(place) = PLACES.iter().find(|it| it.kind == kind) else {
        let fields = person.places_in(body);
        if fields.is_empty() {
            return Ok(());
        }
        return parts.add(DOCUMENTS, json!({ "kind": kind, "id": id, "fields": fields }));
    };
    let told = place.told.iter().filter_map(|it| Some(((*it).to_owned(), body.get(it)?.clone())));
    let told = Json::Object(told.collect::<Map<String, Json>>());
    match person.is_in(&told) {
        true => parts.add((place.part, place.rule), told),
        false => Ok(()),
    }
}

fn is_made_by(person: &Person, key: &Json) -> bool {
    // A service account acts through its keys, and not whoever made them.
    key["service_account"].is_null() && key["created_by"].as_str().is_some_and(|it| person.is(it))
}

/// Says whether a task asks somebody, or holds something that they have done; what else it tells
/// is the workflow's.
fn is_asked(person: &Person, task: &Json) -> bool {
    let fields = ["assignees", "claimed_by", "delegated", "comments", "decisions", "escalated_to"];
    fields.iter().any(|it| person.is_in(&task[*it]))
}

fn session_told(it: &Session) -> Json {
    json!({
        "id": it.id,
        "tenant_id": it.tenant_id,
        "authenticated_at": it.authenticated_at,
        "proved_at": it.proved_at,
        "last_used_at": it.last_used_at,
        "expires_at": it.expires_at,
        "ip_address": it.ip_address,
        "user_agent": it.user_agent,
        "amr": it.amr,
        "confined": it.confined.as_ref().map(|it| json!({
            "tenant_id": it.tenant_id, "issuer": it.issuer,
        })),
    })
}

/// Tells an account: of proofs their kinds and names, and nothing that proves.
fn account_told(account: &crate::accounts::Account) -> Json {
    let (user, personal) = (&account.user, &account.personal);
    let factors = &personal.factors;
    let apps = factors.apps.iter().map(|it| ("app", &it.name, it.added_at, it.used_at));
    let passkeys = factors.passkeys.iter().map(|it| ("passkey", &it.name, it.added_at, it.used_at));
    let told: Vec<Json> = apps
        .chain(passkeys)
        .map(|(kind, name, added, used)| {
            json!({ "kind": kind, "name": name, "added_at": added, "used_at": used })
        })
        .collect();
    json!({
        "id": user.id,
        "email": personal.email,
        "email_verified": personal.email_verified,
        "name": personal.name,
        "avatar_url": personal.avatar_url,
        "locale": personal.locale,
        "timezone": personal.timezone,
        "status": user.status.as_str(),
        "platform_role": user.platform_role.as_str(),
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "last_login": user.last_login,
        "has_password": personal.password.is_some(),
        "factors": told,
        "recovery_codes_left": factors.recovery.len(),
        "logins_elsewhere": factors.identities.iter().map(|it| json!({
            "issuer": it.issuer, "subject": it.subject,
        })).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Person {
        let names = ["ada@example.org", "0192-ada"].map(str::to_owned);
        Person { names: names.into(), user: None }
    }

    #[test]
    fn a_person_is_named_by_a_whole_text_alone() {
        for (text, expected) in [
            ("0192-ada", true),
            ("user:0192-ada", true),
            ("key:0192-ada", true),
            ("role:0192-ada", false),
            ("ada@example.organ", false),
            ("write to ada@example.org", false),
        ] {
            assert_eq!(ada().is(text), expected, "{text}");
        }
    }

    #[test]
    fn of_documents_without_a_row_only_places_are_told() {
        let mut parts = Parts::new(10);
        let body = json!({ "hash": "s3cr3t", "made": { "by/in": ["x", "user:0192-ada"] } });
        tell(&ada(), &mut parts, ("thing", "t-1"), &body).unwrap();
        tell(&ada(), &mut parts, ("thing", "t-2"), &json!({ "made": "bob" })).unwrap();
        let (told, _) = parts.told();
        let expected = json!([{ "kind": "thing", "id": "t-1", "fields": ["/made/by~1in/1"] }]);
        assert_eq!(told["documents"]["items"], expected);
    }

    #[test]
    fn of_a_key_nothing_is_told_that_proves_it() {
        let mut parts = Parts::new(10);
        let body = json!({ "id": "k", "name": "CI", "created_by": "0192-ada", "hash": "s3cr3t" });
        tell(&ada(), &mut parts, ("api_key", "k"), &body).unwrap();
        let (told, _) = parts.told();
        let expected = json!([{ "id": "k", "name": "CI", "created_by": "0192-ada" }]);
        assert_eq!(told["api_keys"]["items"], expected);
    }

    #[test]
    fn more_than_fits_is_refused_and_not_cut() {
        let mut parts = Parts::new(1);
        parts.add(TASKS, json!(1)).unwrap();
        assert_eq!(&*parts.add(AUDIT, json!(2)).unwrap_err().code, "payload_too_large");
    }

    #[test]
    fn empty_places_are_named() {
        let mut parts = Parts::new(1);
        parts.name(USAGE);
        parts.add(TASKS, json!(1)).unwrap();
        let (told, empty) = parts.told();
        assert_eq!(empty, ["usage"]);
        assert_eq!((&told["usage"]["count"], &told["tasks"]["count"]), (&json!(0), &json!(1)));
    }
}
