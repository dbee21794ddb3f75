//! Users, tenants, roles and memberships: of earlier layouts, which have lists or a file for each
//! user, and of document trees of ours ([`kept`]).

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use serde_json::{Value as Json, json};
use traaviis_model::{TenantId, Text, UserId, permission::Role};
use traaviis_platform::{
    Platform,
    importing::{FormerMember, FormerTenant, FormerUser, IMPORTED_PLAN, Met},
    password::PasswordHash,
    tenant::CustomRole,
};
use traaviis_policy::plan::Plan;
use traaviis_ports::Vault;
use traaviis_store::{LocalLog, ReadOnlyLog};

use super::{
    Said,
    earlier::{read_json, time},
    files::{File, What},
    kept,
};
use crate::{
    data::sealed,
    exit::{Exit, Failure},
    platform::open,
};

/// Everybody who comes.
#[derive(Debug, Default)]
pub struct People {
    users: Vec<FormerUser>,
    tenants: Vec<FormerTenant>,
    roles: Vec<(TenantId, CustomRole)>,
    members: Vec<FormerMember>,
}

/// A tenant that has another plan than its tree says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTurned {
    /// The tenant.
    pub tenant: TenantId,
    /// What the tree says.
    pub from: Text,
    /// What it has.
    pub to: Plan,
}

impl PlanTurned {
    fn of(tenant: &FormerTenant, to: Plan) -> Option<PlanTurned> {
        let from = tenant.plan.clone().filter(|it| **it != *to.as_str())?;
        Some(PlanTurned { tenant: tenant.id, from, to })
    }
}

/// Who came, or would come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peopled {
    /// Users.
    pub users: usize,
    /// Tenants.
    pub tenants: usize,
    /// Roles that tenants have made.
    pub roles: usize,
    /// Members.
    pub members: usize,
    /// Those who were there.
    pub present: usize,
    /// Tenants that have another plan than they had.
    pub plans: Vec<PlanTurned>,
}

impl Peopled {
    /// Says whether anybody comes who is not there.
    pub fn changes(&self) -> bool {
        self.users + self.tenants + self.members > 0
    }

    /// Returns it for programs.
    pub fn json(&self) -> Json {
        json!({
            "users": self.users, "tenants": self.tenants, "roles": self.roles,
            "members": self.members, "present": self.present,
        })
    }

    /// Returns the plans that are others now, for programs.
    pub fn plans_json(&self) -> Vec<Json> {
        let plan =
            |it: &PlanTurned| json!({ "tenant": it.tenant, "from": it.from, "to": it.to.as_str() });
        self.plans.iter().map(plan).collect()
    }
}

/// Reads everybody; who cannot be taken is said. `vault` opens what is about users of a tree.
pub fn read(
    root: &Path,
    files: &[File],
    vault: &dyn Vault,
    left_out: &mut Vec<Said>,
    changed: &mut Vec<Said>,
) -> People {
    let mut people = People::default();
    let order = |it: &&File| match it.what {
        What::Users => 0,
        What::Tenants => 1,
        What::Roles => 2,
        _ => 3,
    };
    let is_of_people = |it: &&File| {
        matches!(it.what, What::Users | What::Tenants | What::Roles | What::Memberships)
    };
    let mut files: Vec<&File> = files.iter().filter(is_of_people).collect();
    files.sort_by_key(order);
    // Memberships say who owns a tenant that does not say so itself.
    let owners: Vec<(String, String)> = files
        .iter()
        .filter(|it| it.what == What::Memberships)
        .filter_map(|it| read_json(&root.join(&it.path)).ok())
        .flat_map(items)
        .filter(|it| it["role"] == "owner")
        .map(|it| (word(&it["tenant_id"]), word(&it["user_id"])))
        .collect();
    for file in files {
        let json = match read_json(&root.join(&file.path)) {
            Ok(json) => json,
            Err(why) => {
                left_out.push(Said::new(&file.path, why));
                continue;
            }
        };
        if kept::is_document(&json) || file.what == What::Roles {
            match people.document(&root.join(&file.path), &file.what, vault) {
                Ok(None) => {}
                Ok(Some(note)) => changed.push(Said::new(&file.path, note)),
                Err(why) => left_out.push(Said::new(&file.path, why)),
            }
            continue;
        }
        for (at, item) in items(json).into_iter().enumerate() {
            let place = format!("{}#{at}", file.path);
            let taken = match file.what {
                What::Users => people.user(&item),
                What::Tenants => people.tenant(&item, &owners),
                _ => people.member(&item),
            };
            match taken {
                Ok(None) => {}
                Ok(Some(note)) => changed.push(Said::new(place, note)),
                Err(why) => left_out.push(Said::new(place, why)),
            }
        }
    }
    people
}

/// Returns the things of a file: a list, a map of them by id, a list under a name, or one thing.
fn items(json: Json) -> Vec<Json> {
    match json {
        Json::Array(items) => items,
        Json::Object(mut map) => {
            if map.contains_key("email") || map.contains_key("id") {
                return vec![Json::Object(map)];
            }
            for key in ["users", "tenants", "memberships", "body"] {
                if let Some(inner) = map.remove(key) {
                    return items(inner);
                }
            }
            map.into_iter().map(|(_, it)| it).collect()
        }
        other => vec![other],
    }
}

fn word(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn id<T: std::str::FromStr>(item: &Json, key: &str) -> Result<T, String> {
    let text = word(&item[key]);
    text.parse().map_err(|_| format!("`{key}` is `{text}`, which is no id, and ids stay"))
}

type Taken = Result<Option<String>, String>;

impl People {
    /// Says whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
            && self.tenants.is_empty()
            && self.roles.is_empty()
            && self.members.is_empty()
    }

    /// Takes what a document of a tree of ours says.
    fn document(&mut self, path: &Path, what: &What, vault: &dyn Vault) -> Taken {
        let bytes = fs::read(path).map_err(|it| it.to_string())?;
        match what {
            What::Users => {
                let (user, note) = kept::user(&bytes, vault)?;
                self.add_user(user).map(|()| note)
            }
            What::Tenants => {
                let (tenant, note) = kept::tenant(&bytes)?;
                self.add_tenant(tenant).map(|_| note)
            }
            What::Roles => {
                let ((tenant, role), note) = kept::role(&bytes)?;
                if !self.tenants.iter().any(|it| it.id == tenant) {
                    return Err("its tenant is not in these files".into());
                }
                self.roles.push((tenant, role));
                Ok(note)
            }
            _ => {
                let (member, note) = kept::member(&bytes)?;
                self.add_member(member).map(|()| note)
            }
        }
    }

    fn user(&mut self, item: &Json) -> Taken {
        let hash = word(&item["password_hash"]);
        let password = PasswordHash::read(&hash);
        let is_lost = !hash.is_empty() && password.is_none();
        let user = FormerUser {
            id: id(item, "id")?,
            email: word(&item["email"]),
            name: word(&item["name"]),
            password,
            created_at: time(&item["created_at"]),
            is_suspended: ["suspended", "inactive", "disabled"]
                .contains(&item["status"].as_str().unwrap_or_default()),
        };
        self.add_user(user)?;
        Ok(is_lost.then(|| {
            "the hash of the password is of a kind that cannot be checked; the \
                            user needs a new password"
                .into()
        }))
    }

    fn add_user(&mut self, user: FormerUser) -> Result<(), String> {
        user.check().map_err(|error| error.message)?;
        let email = user.email.to_lowercase();
        if self.users.iter().any(|it| it.id == user.id || it.email.to_lowercase() == email) {
            return Err("another user of these files has the same id or address".into());
        }
        self.users.push(user);
        Ok(())
    }

    fn has_user(&self, user: UserId) -> bool {
        self.users.iter().any(|it| it.id == user)
    }

    fn tenant(&mut self, item: &Json, owners: &[(String, String)]) -> Taken {
        let tenant_id: TenantId = id(item, "id")?;
        let of = owners.iter().find(|it| it.0 == tenant_id.to_string());
        let owner = match (item["owner_id"].is_string(), of) {
            (true, _) => id(item, "owner_id")?,
            (false, Some((_, user))) => user.parse().map_err(|_| "its owner has no id")?,
            (false, None) => return Err("nobody owns it: there is no `owner_id`".into()),
        };
        let has_slug = item["slug"].is_string();
        let slug = self.add_tenant(FormerTenant {
            id: tenant_id,
            name: word(&item["name"]),
            slug: item["slug"].as_str().map(str::to_owned),
            owner,
            created_at: time(&item["created_at"]),
            plan: item["plan"].as_str().map(Text::from),
        })?;
        Ok((!has_slug).then(|| format!("its short name is `{slug}`")))
    }

    /// Takes a tenant; returns its short name.
    fn add_tenant(&mut self, tenant: FormerTenant) -> Result<Text, String> {
        let FormerTenant { id: tenant_id, owner, .. } = tenant;
        if !self.has_user(owner) {
            return Err(format!("its owner `{owner}` is none of the users of these files"));
        }
        let slug = tenant.check().map_err(|error| error.message)?;
        let is_taken = |it: &FormerTenant| it.check().is_ok_and(|it| it == slug);
        if self.tenants.iter().any(|it| it.id == tenant_id || is_taken(it)) {
            return Err("another tenant of these files has the same id or short name".into());
        }
        self.tenants.push(tenant);
        Ok(slug)
    }

    fn member(&mut self, item: &Json) -> Taken {
        let (tenant, user): (TenantId, UserId) = (id(item, "tenant_id")?, id(item, "user_id")?);
        let word = word(&item["role"]);
        let role = Role::ALL.iter().copied().find(|it| it.as_str() == word);
        let role = role.ok_or_else(|| format!("there is no role `{word}`"))?;
        let joined_at = time(&item["joined_at"]);
        self.add_member(FormerMember::plain(tenant, user, role, joined_at))?;
        Ok(None)
    }

    fn add_member(&mut self, member: FormerMember) -> Result<(), String> {
        let FormerMember { tenant, user, .. } = member;
        if !self.tenants.iter().any(|it| it.id == tenant) || !self.has_user(user) {
            return Err("its tenant or its user is not in these files".into());
        }
        let is_word = Role::ALL.iter().any(|it| *it.as_str() == *member.role);
        let mut made = self.roles.iter().filter(|it| it.0 == tenant);
        if !is_word && !made.any(|it| *it.1.id.to_string() == *member.role) {
            return Err(format!("their role `{}` is not in these files", member.role));
        }
        self.members.push(member);
        Ok(())
    }

    /// Says who would come where nobody is.
    pub fn all_new(&self) -> Peopled {
        Peopled {
            users: self.users.len(),
            tenants: self.tenants.len(),
            roles: self.roles.len(),
            members: self.memberships().count(),
            present: 0,
            plans: self.tenants.iter().filter_map(|it| PlanTurned::of(it, IMPORTED_PLAN)).collect(),
        }
    }

    /// Returns the members that do not come with their tenant, as its owner does.
    fn memberships(&self) -> impl Iterator<Item = &FormerMember> {
        self.members
            .iter()
            .filter(|it| !self.tenants.iter().any(|of| of.id == it.tenant && of.owner == it.user))
    }

    /// Says who would come into a data directory; changes nothing.
    pub fn compare(&self, data: &Path, scratch: &Path) -> Result<Peopled, Failure> {
        if self.is_empty() {
            return Ok(Peopled::default());
        }
        let log = sealed(data, Arc::new(ReadOnlyLog::open(data)?));
        let platform = open(data, log, &scratch.join("documents"), refused);
        match platform {
            Ok(platform) => self.meet(&platform).map(|it| it.0),
            // A directory in which nobody has registered has no keys, and reading makes none.
            Err(failure) if failure.code == "append_refused" => Ok(self.all_new()),
            Err(failure) => Err(failure),
        }
    }

    /// Takes everybody in who is new.
    pub fn import(&self, data: &Path, log: &Arc<LocalLog>) -> Result<Peopled, Failure> {
        if self.is_empty() {
            return Ok(Peopled::default());
        }
        let log = sealed(data, Arc::clone(log));
        let platform = open(data, log, data, refused)?;
        let (found, new) = self.meet(&platform)?;
        for user in self.users.iter().filter(|it| new.contains(&it.id.to_string())) {
            platform.take_user(user).map_err(refused)?;
        }
        for tenant in self.tenants.iter().filter(|it| new.contains(&it.id.to_string())) {
            platform.take_tenant(tenant).map_err(refused)?;
        }
        for (tenant, role) in &self.roles {
            if platform.meet_role(*tenant, role).map_err(refused)? == Met::New {
                platform.take_role(*tenant, role).map_err(refused)?;
            }
        }
        for member in self.memberships() {
            if platform.meet_member(member).map_err(refused)? == Met::New {
                platform.take_member(member).map_err(refused)?;
            }
        }
        Ok(found)
    }

    /// Counts who is new, and returns their ids; refuses all when somebody else has what they had.
    fn meet(&self, platform: &Platform) -> Result<(Peopled, BTreeSet<String>), Failure> {
        let (mut found, mut new, mut taken) = (Peopled::default(), BTreeSet::new(), Vec::new());
        let mut count = |met: Met, counter: fn(&mut Peopled) -> &mut usize, id: String| match met {
            Met::New => {
                *counter(&mut found) += 1;
                new.insert(id);
            }
            Met::Present => found.present += 1,
            Met::Taken(why) => taken.push(why),
        };
        for user in &self.users {
            let met = platform.meet_user(user).map_err(refused)?;
            count(met, |it| &mut it.users, user.id.to_string());
        }
        for tenant in &self.tenants {
            let met = platform.meet_tenant(tenant).map_err(refused)?;
            count(met, |it| &mut it.tenants, tenant.id.to_string());
        }
        for (tenant, role) in &self.roles {
            let met = platform.meet_role(*tenant, role).map_err(refused)?;
            count(met, |it| &mut it.roles, String::new());
        }
        for member in self.memberships() {
            let met = platform.meet_member(member).map_err(refused)?;
            count(met, |it| &mut it.members, String::new());
        }
        if taken.is_empty() {
            found.plans = self
                .tenants
                .iter()
                .filter_map(|it| {
                    let is_new = new.contains(&it.id.to_string());
                    let to = if is_new { IMPORTED_PLAN } else { platform.plan_of(Some(it.id)) };
                    PlanTurned::of(it, to)
                })
                .collect();
            return Ok((found, new));
        }
        let message = format!(
            "nothing was imported, because of who is there already ({}): {}",
            taken.len(),
            taken.join("; ")
        );
        let failure = Failure::finding("import_collision", message);
        Err(failure.with_details(json!({ "collisions": taken })))
    }
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::new(Exit::Finding, &error.code, error.message)
}
