//! Use cases of workflows: drafts that are worked on, and versions that are published and never
//! change again.

use serde::{Deserialize, Serialize};
use serde_json::json;
use traaviis_model::{TenantCtx, Text, Timestamp, UserId, Value, limits::DOCUMENT_BYTES_MAX};

use crate::{
    audit::Act,
    caller::{Caller, Entered},
    engine::{Checked, Engine},
    error::Error,
    expected::Expected,
    hooks,
    ledger::{Document, Documents, VERSION, Versioned},
    platform::Platform,
};

/// Workflows of a tenant.
pub const WORKFLOWS_MAX: usize = 2_000;
/// Times that one workflow is given another name.
pub const FORMER_MAX: usize = 20;
/// Published versions of one workflow.
pub const VERSIONS_MAX: usize = 500;

/// A workflow: its name, and which versions there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Workflow {
    /// Name as its author wrote it; no two of a tenant differ only by case.
    pub name: Text,
    /// What it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Text>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: UserId,
    /// Whether there is a draft that was not published.
    pub has_draft: bool,
    /// What is published, the oldest first.
    pub versions: Vec<Published>,
    /// Names that it had before, the oldest first; they go on to mean it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<Text>,
}

/// A published version, without its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Published {
    /// Version.
    pub version: Text,
    /// Hash of the definition.
    pub hash: String,
    /// When.
    pub published_at: Timestamp,
    /// Who.
    pub published_by: UserId,
    /// What is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
}

impl Workflow {
    /// Returns what it rests under: the first name that it had.
    fn key(&self) -> Text {
        key(self.former.first().unwrap_or(&self.name))
    }

    /// Returns all names that it has or had, the newest first; instances have the one of their
    /// definition.
    pub fn names(&self) -> impl Iterator<Item = &Text> {
        let former = self.former.iter().rev().filter(|it| **it != self.name);
        std::iter::once(&self.name).chain(former)
    }

    /// Returns the version that a start takes which names none: the highest that is no pre-release.
    pub fn latest(&self) -> Option<&Published> {
        let parsed = |it: &&Published| semver::Version::parse(&it.version).ok();
        let plain =
            self.versions.iter().filter(|it| parsed(it).is_some_and(|it| it.pre.is_empty()));
        plain.max_by_key(parsed).or_else(|| self.versions.last())
    }
}

impl Document for Workflow {
    const KIND: &'static str = "workflow";

    fn id(&self) -> Text {
        self.key()
    }
}

/// A name that a workflow was given later: it leads to the first one, under which all rests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LaterName {
    name: Text,
    first: Text,
}

impl Document for LaterName {
    const KIND: &'static str = "workflow_name";

    fn id(&self) -> Text {
        key(&self.name)
    }
}

/// A draft.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// Name of the workflow.
    pub name: Text,
    /// First name of the workflow, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Text>,
    /// The text as its author wrote it, YAML or JSON.
    pub text: String,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: UserId,
}

impl Document for Draft {
    const KIND: &'static str = crate::ledger::DRAFT;

    fn id(&self) -> Text {
        key(self.first_name.as_ref().unwrap_or(&self.name))
    }
}

/// A published version with its document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Name of the workflow.
    pub name: Text,
    /// First name of the workflow, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_name: Option<Text>,
    /// What is published.
    pub published: Published,
    /// The text as its author wrote it.
    pub text: String,
    /// The document with its components merged in, as instances run it.
    pub document: Value,
}

impl Document for Version {
    const KIND: &'static str = VERSION;

    fn id(&self) -> Text {
        let first = self.first_name.as_ref().unwrap_or(&self.name);
        version_key(&key(first), &self.published.version)
    }
}

fn key(name: &str) -> Text {
    name.to_lowercase().into()
}

fn version_key(key: &str, version: &str) -> Text {
    format!("{key}/{version}").into()
}

/// Returns what a workflow rests under, by any of its names.
pub(crate) fn key_of(documents: &Documents, name: &str) -> Result<Text, Error> {
    let key = key(name);
    Ok(documents.shared::<LaterName>(&key)?.map_or(key, |it| it.first.clone()))
}

/// Returns the first name of a workflow, where it has another one now.
fn first_name(workflow: &Workflow) -> Option<Text> {
    workflow.former.first().cloned()
}

impl Platform {
    /// Returns the workflows of a tenant, by name.
    pub fn workflows(&self, entered: &Entered) -> Result<Vec<Versioned<Workflow>>, Error> {
        let mut all = self.ledgers.read(&entered.ctx, |it| it.list::<Workflow>(""))?;
        all.sort_by_cached_key(|it| key(&it.it.name));
        Ok(all)
    }

    /// Returns a workflow.
    pub fn workflow(&self, entered: &Entered, name: &str) -> Result<Versioned<Workflow>, Error> {
        let found =
            self.ledgers.read(&entered.ctx, |it| it.versioned::<Workflow>(&key_of(it, name)?))?;
        found.ok_or_else(|| absent(name))
    }

    /// Makes a workflow of a first draft, which must at least say its name.
    pub fn create_workflow(
        &self,
        caller: &Caller,
        entered: &Entered,
        engine: &dyn Engine,
        text: &str,
    ) -> Result<(Versioned<Workflow>, Checked), Error> {
        let checked = look(entered, engine, text)?;
        let name = checked.name.clone().ok_or_else(|| refused(&checked))?;
        let workflow = Workflow {
            name: name.clone(),
            description: checked.description.clone(),
            created_at: self.now(),
            created_by: caller.user,
            has_draft: true,
            versions: Vec::new(),
            former: Vec::new(),
        };
        let draft = self.draft_of(caller, &workflow, text);
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            if documents.get::<Workflow>(&key_of(documents, &name)?)?.is_some() {
                let message = format!("there is a workflow `{name}`; change its draft instead");
                return Err(Error::new("already_exists", message));
            }
            if documents.count::<Workflow>() >= WORKFLOWS_MAX {
                let message = format!("a tenant has at most {WORKFLOWS_MAX} workflows");
                return Err(Error::new("quota_exceeded", message));
            }
            changes.put(&workflow);
            changes.put(&draft);
            changes.act(Act::done("workflow.created", Workflow::KIND, name.clone()));
            Ok(())
        })?;
        Ok((self.workflow(entered, &name)?, checked))
    }

    fn draft_of(&self, caller: &Caller, workflow: &Workflow, text: &str) -> Draft {
        Draft {
            name: workflow.name.clone(),
            first_name: first_name(workflow),
            text: text.into(),
            updated_at: self.now(),
            updated_by: caller.user,
        }
    }

    /// Returns the draft of a workflow, or the text of its newest version when nothing is changed.
    pub fn draft(&self, entered: &Entered, name: &str) -> Result<Versioned<Draft>, Error> {
        let workflow = self.workflow(entered, name)?;
        if let Some(draft) = self.ledgers.get::<Draft>(&entered.ctx, &workflow.it.key())? {
            return Ok(draft);
        }
        let newest = workflow.it.versions.last().ok_or_else(|| absent(name))?;
        let version = self.version(entered, name, Some(&newest.version))?;
        let Published { published_at, published_by, .. } = version.it.published;
        let draft = Draft {
            first_name: first_name(&workflow.it),
            name: workflow.it.name,
            text: version.it.text,
            updated_at: published_at,
            updated_by: published_by,
        };
        Ok(Versioned { version: version.version, it: draft })
    }

    /// Replaces the draft of a workflow. It may be unfinished: findings are part of the answer.
    pub fn put_draft(
        &self,
        caller: &Caller,
        entered: &Entered,
        engine: &dyn Engine,
        name: &str,
        (text, expected): (&str, Expected),
    ) -> Result<(Versioned<Draft>, Checked), Error> {
        let checked = look(entered, engine, text)?;
        let found = self.draft(entered, name)?;
        if let Some(other) = &checked.name
            && !other.eq_ignore_ascii_case(&found.it.name)
        {
            let rule = format!("the document is of `{other}`, not of `{}`", found.it.name);
            return Err(Error::invalid("/name", rule));
        }
        let draft = self.draft_of(caller, &self.workflow(entered, name)?.it, text);
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            // Read again while the ledger is held: somebody may have been first.
            let found = self.draft(entered, name)?;
            expected.check(&found)?;
            let mut workflow = documents
                .get::<Workflow>(&key_of(documents, name)?)?
                .ok_or_else(|| absent(name))?;
            workflow.has_draft = true;
            changes.put(&draft);
            changes.put(&workflow);
            changes.act(Act::done("workflow.draft_changed", Workflow::KIND, workflow.name.clone()));
            Ok(())
        })?;
        Ok((self.draft(entered, name)?, checked))
    }

    /// Gives a workflow another name, in its draft, too; `text` is the draft with that name. Names
    /// that it had go on to mean it, so nobody else is given them.
    pub fn rename_workflow(
        &self,
        caller: &Caller,
        entered: &Entered,
        engine: &dyn Engine,
        name: &str,
        (to, text, draft): (&Text, &str, u64),
    ) -> Result<Versioned<Workflow>, Error> {
        let checked = look(entered, engine, text)?;
        if checked.name.as_ref() != Some(to) {
            let rule =
                "the draft cannot be read with this name; a name is written as in a document";
            return Err(Error::invalid("/name", rule));
        }
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            Expected::from(draft).check(&self.draft(entered, name)?)?;
            let own = key_of(documents, name)?;
            let mut workflow = documents.get::<Workflow>(&own)?.ok_or_else(|| absent(name))?;
            if workflow.name == *to {
                return Err(Error::new("invalid_state", format!("it is called `{to}` already")));
            }
            let taken = key_of(documents, to)?;
            if taken != own && documents.get::<Workflow>(&taken)?.is_some() {
                let message = format!("there is, or was, a workflow `{to}`; choose another name");
                return Err(Error::new("already_exists", message));
            }
            if workflow.former.len() >= FORMER_MAX {
                let message = format!("a workflow is given at most {FORMER_MAX} other names");
                return Err(Error::new("quota_exceeded", message));
            }
            let from = std::mem::replace(&mut workflow.name, to.clone());
            // It may come back to one that it had.
            if !workflow.former.contains(&from) {
                workflow.former.push(from.clone());
            }
            workflow.has_draft = true;
            if key(to) != own {
                changes.put(&LaterName { name: to.clone(), first: own });
            }
            changes.put(&self.draft_of(caller, &workflow, text));
            changes.put(&workflow);
            let act = Act::done("workflow.renamed", Workflow::KIND, to.clone());
            changes.act(act.with(json!({ "from": from })));
            Ok(())
        })?;
        self.workflow(entered, to)
    }

    /// Returns all names of a workflow, the newest first, by any of them.
    pub fn names_of_workflow(&self, ctx: &TenantCtx, name: &str) -> Result<Vec<Text>, Error> {
        let found = self.ledgers.read(ctx, |it| it.shared::<Workflow>(&key_of(it, name)?))?;
        Ok(found.map_or_else(|| vec![name.into()], |it| it.names().cloned().collect()))
    }

    /// Publishes the draft of a workflow as the version that it names.
    pub fn publish(
        &self,
        caller: &Caller,
        entered: &Entered,
        engine: &dyn Engine,
        name: &str,
        notes: Option<String>,
    ) -> Result<Published, Error> {
        let draft = self.draft(entered, name)?;
        let checked = look(entered, engine, &draft.it.text)?;
        let (Some(document), Some(version), Some(hash), true) =
            (&checked.document, &checked.version, &checked.hash, checked.is_valid)
        else {
            return Err(refused(&checked));
        };
        let published = Published {
            version: version.clone(),
            hash: hash.clone(),
            published_at: self.now(),
            published_by: caller.user,
            notes,
        };
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let now = self.draft(entered, name)?;
            Expected::from(draft.version).check(&now)?;
            let mut workflow = documents
                .get::<Workflow>(&key_of(documents, name)?)?
                .ok_or_else(|| absent(name))?;
            if let Some(before) = workflow.versions.iter().find(|it| it.version == *version) {
                if before.hash == *hash {
                    return Ok(before.clone());
                }
                let message = format!(
                    "version `{version}` is published, and a published version never changes; \
                     give the draft another `version`"
                );
                return Err(Error::new("already_exists", message));
            }
            if workflow.versions.len() >= VERSIONS_MAX {
                let message = format!("a workflow has at most {VERSIONS_MAX} versions");
                return Err(Error::new("quota_exceeded", message));
            }
            workflow.versions.push(published.clone());
            workflow.has_draft = false;
            workflow.description.clone_from(&checked.description);
            if workflow.latest().is_some_and(|it| it.version == *version) {
                hooks::replace(documents, changes, &workflow, document)?;
            }
            changes.put(&Version {
                name: workflow.name.clone(),
                first_name: first_name(&workflow),
                published: published.clone(),
                text: draft.it.text.clone(),
                document: document.clone(),
            });
            changes.put(&workflow);
            changes.remove::<Draft>(&workflow.key());
            let act = Act::done("workflow.published", Workflow::KIND, workflow.name.clone());
            changes.act(act.with(json!({ "version": version, "hash": hash })));
            Ok(published)
        })
    }

    /// Returns a published version without its document; the newest one when none is named.
    pub fn find_version(
        &self,
        entered: &Entered,
        name: &str,
        version: Option<&str>,
    ) -> Result<Published, Error> {
        let workflow =
            self.ledgers.read(&entered.ctx, |it| it.shared::<Workflow>(&key_of(it, name)?))?;
        let workflow = workflow.ok_or_else(|| absent(name))?;
        let found = match version {
            Some(version) => workflow.versions.iter().find(|it| *it.version == *version),
            None => workflow.latest(),
        };
        found.cloned().ok_or_else(|| match version {
            Some(version) => Error::not_found("version", &format!("{name}@{version}")),
            None => Error::new(
                "not_found",
                format!("no version of `{}` is published; publish the draft first", workflow.name),
            ),
        })
    }

    /// Returns a published version with its document; the newest one when none is named.
    pub fn version(
        &self,
        entered: &Entered,
        name: &str,
        version: Option<&str>,
    ) -> Result<Versioned<Version>, Error> {
        let found = self.find_version(entered, name, version)?;
        self.stored_version(&entered.ctx, name, &found.version)
    }

    fn stored_version(
        &self,
        ctx: &TenantCtx,
        name: &str,
        version: &str,
    ) -> Result<Versioned<Version>, Error> {
        let key = self.ledgers.read(ctx, |it| key_of(it, name))?;
        let id = version_key(&key, version);
        let found = self.ledgers.get::<Version>(ctx, &id)?;
        found.ok_or_else(|| Error::not_found("version", &id))
    }

    /// Returns the highest published version in a range, for what the engine starts by itself.
    pub fn published(
        &self,
        ctx: &TenantCtx,
        name: &str,
        range: &semver::VersionReq,
    ) -> Result<Option<Published>, Error> {
        let found = self.ledgers.read(ctx, |it| it.get::<Workflow>(&key_of(it, name)?))?;
        let Some(found) = found else { return Ok(None) };
        let parsed = |it: &Published| semver::Version::parse(&it.version).ok();
        let mut versions = found.versions;
        versions.retain(|it| parsed(it).is_some_and(|it| range.matches(&it)));
        Ok(versions.into_iter().max_by_key(parsed))
    }

    /// Returns the document of a published version, for what the engine starts by itself.
    pub fn document(&self, ctx: &TenantCtx, name: &str, version: &str) -> Result<Value, Error> {
        Ok(self.stored_version(ctx, name, version)?.it.document)
    }

    /// Deletes a workflow of which no instance is open.
    pub fn delete_workflow(
        &self,
        entered: &Entered,
        name: &str,
        expected: Expected,
        open: u64,
    ) -> Result<(), Error> {
        if open > 0 {
            let message =
                format!("{open} instances of `{name}` are open; let them end, or cancel them");
            return Err(Error::new("has_open_instances", message));
        }
        self.ledgers.change(&entered.ctx, &entered.via, |documents, changes| {
            let key = key_of(documents, name)?;
            let found = documents.versioned::<Workflow>(&key)?.ok_or_else(|| absent(name))?;
            expected.check(&found)?;
            for published in &found.it.versions {
                changes.remove::<Version>(&version_key(&key, &published.version));
            }
            changes.remove::<Draft>(&key);
            changes.remove::<Workflow>(&key);
            for later in documents.list::<LaterName>("")? {
                if later.it.first == key {
                    changes.remove::<LaterName>(&later.it.id());
                }
            }
            hooks::remove(documents, changes, &found.it)?;
            changes.act(Act::done("workflow.deleted", Workflow::KIND, found.it.name));
            Ok(())
        })
    }
}

fn look(entered: &Entered, engine: &dyn Engine, text: &str) -> Result<Checked, Error> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("a document has at most {DOCUMENT_BYTES_MAX} bytes");
        return Err(Error::new("payload_too_large", message));
    }
    Ok(engine.check(&entered.ctx, text))
}

fn refused(checked: &Checked) -> Error {
    let first = checked.diagnostics.iter().find(|it| it["severity"] == "error");
    let first = first.and_then(|it| it["message"].as_str()).unwrap_or("it has no name or version");
    Error::new("definition_invalid", format!("the document cannot be used: {first}"))
        .with_details(json!({ "diagnostics": checked.diagnostics }))
}

fn absent(name: &str) -> Error {
    Error::not_found(Workflow::KIND, name)
}
