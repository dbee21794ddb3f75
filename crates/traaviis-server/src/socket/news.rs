//! What changes in documents, spread to sockets: whose rights may be others now, and what members
//! of a tenant want to hear of it.
//!
//! A ledger tells of a change while it is held, so what is noted there is little and never waits.
//! A task of the server spreads it a moment later, for many changes at once: a socket then looks at
//! its rights only when they may have changed.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use serde_json::{Value as Json, json};
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval},
};
use traaviis_model::{TenantId, UserId, tenant::PLATFORM};
use traaviis_platform::{
    Caller,
    alerts::Alert,
    audit::SILENT,
    ledger::{Document as _, Put},
    session::Session,
    user::User,
};

use super::{
    hub::{Topic, Watched},
    limits::{CHANGES_MAX, RECHECK, SAMPLE},
};
use crate::App;

/// Whose rights may have changed.
#[derive(Debug, Default)]
pub struct Touched {
    /// How many times rights have changed.
    version: u64,
    /// Everybody's may have.
    all: bool,
    tenants: HashSet<TenantId>,
    users: HashSet<UserId>,
}

impl Touched {
    fn is_nobody(&self) -> bool {
        !self.all && self.tenants.is_empty() && self.users.is_empty()
    }

    /// Says whether what a caller may do in these tenants may have changed since `seen`, which
    /// this moves on.
    pub fn concerns(
        &self,
        seen: &mut Option<u64>,
        caller: &Caller,
        mut tenants: impl Iterator<Item = TenantId>,
    ) -> bool {
        let before = seen.replace(self.version);
        let is_next = before.is_some_and(|it| it + 1 == self.version);
        let is_same = before == Some(self.version);
        // Whoever has missed one looks at everything.
        !is_same
            && (!is_next
                || self.all
                || self.users.contains(&caller.user)
                || caller.scoped_to.is_some_and(|it| self.tenants.contains(&it))
                || tenants.any(|it| self.tenants.contains(&it)))
    }
}

/// A change of one ledger.
#[derive(Debug)]
struct Change {
    tenant: TenantId,
    rights: bool,
    users: Vec<UserId>,
    /// Entries of the audit trail, and alerts.
    entries: Vec<Json>,
    alerts: Vec<Json>,
}

impl Change {
    fn of(tenant: TenantId, puts: &[Put], entries: Vec<Json>) -> Option<Change> {
        let (mut users, mut rights) = (Vec::new(), false);
        let mut alerts = Vec::new();
        for (kind, id, body) in puts {
            match (&**kind, body) {
                (Alert::KIND, Some(alert)) => alerts.push(alert.clone()),
                (kind, _) if SILENT.contains(&kind) => {}
                (Session::KIND | User::KIND, _) if tenant == PLATFORM => {
                    users.extend(id.get(..36).and_then(|it| it.parse::<UserId>().ok()));
                }
                _ => rights = true,
            }
        }
        let is_nothing = !rights && users.is_empty() && entries.is_empty() && alerts.is_empty();
        (!is_nothing).then_some(Change { tenant, rights, users, entries, alerts })
    }
}

/// Changes on their way to sockets.
#[derive(Debug)]
pub struct News {
    sender: mpsc::Sender<Change>,
    receiver: Mutex<Option<mpsc::Receiver<Change>>>,
    /// Changes came faster than they were spread.
    is_lost: AtomicBool,
    touched: watch::Sender<Arc<Touched>>,
}

impl Default for News {
    fn default() -> News {
        let (sender, receiver) = mpsc::channel(CHANGES_MAX);
        let receiver = Mutex::new(Some(receiver));
        let touched = watch::Sender::new(Arc::default());
        News { sender, receiver, is_lost: AtomicBool::default(), touched }
    }
}

impl News {
    /// Notes what has changed in a ledger.
    pub fn note(&self, tenant: TenantId, puts: &[Put], entries: &mut dyn Iterator<Item = Json>) {
        let Some(change) = Change::of(tenant, puts, entries.collect()) else { return };
        if self.sender.try_send(change).is_err() {
            self.is_lost.store(true, Ordering::SeqCst);
        }
    }

    /// Returns where a socket is told that rights may have changed.
    pub fn rights(&self) -> watch::Receiver<Arc<Touched>> {
        self.touched.subscribe()
    }

    fn publish(&self, mut touched: Touched) {
        touched.all |= self.is_lost.swap(false, Ordering::SeqCst);
        if touched.is_nobody() {
            return;
        }
        touched.version = self.touched.borrow().version + 1;
        self.touched.send_replace(Arc::new(touched));
    }
}

/// Begins to spread what changes, once there is a socket to spread it to.
pub fn begin(app: &Arc<App>) {
    if app.hub.is_begun.swap(true, Ordering::SeqCst) {
        return;
    }
    let news = &app.hub.news;
    let receiver = news.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(receiver) = receiver {
        tokio::spawn(spread(Arc::downgrade(app), receiver));
    }
}

async fn spread(app: Weak<App>, mut changes: mpsc::Receiver<Change>) {
    let mut ticks = interval(RECHECK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut touched, mut sampled_at) = (Touched::default(), Instant::now());
    loop {
        tokio::select! {
            change = changes.recv() => {
                let (Some(change), Some(app)) = (change, app.upgrade()) else { return };
                touched.users.extend(&change.users);
                match (change.rights, change.tenant == PLATFORM) {
                    (true, true) => touched.all = true,
                    (true, false) => drop(touched.tenants.insert(change.tenant)),
                    (false, _) => {}
                }
                tell(&app, &change);
            }
            _ = ticks.tick() => {
                let Some(app) = app.upgrade() else { return };
                app.hub.news.publish(std::mem::take(&mut touched));
                if sampled_at.elapsed() >= SAMPLE {
                    let millis = u64::try_from(sampled_at.elapsed().as_millis());
                    sampled_at = Instant::now();
                    app.hub.sample(millis.unwrap_or(u64::MAX), &json!(app.platform.now()));
                }
            }
        }
    }
}

/// Tells what has changed to who listens. Of an entry of the audit trail only what was done to
/// what is told: the rest is for who reads the trail.
fn tell(app: &App, change: &Change) {
    let (hub, tenant) = (&app.hub, change.tenant);
    for entry in change.entries.iter().filter(|it| it["outcome"] == "ok") {
        let word = |key: &str| entry[key].as_str().unwrap_or_default();
        let (action, id) = (word("action"), word("resource_id"));
        let timestamp = &entry["timestamp"];
        if let Ok(user) = word("user_id").parse() {
            let payload = json!({
                "action": action, "resource_type": word("resource_type"), "resource_id": id,
                "tenant_id": tenant, "timestamp": timestamp,
            });
            hub.tell(Topic::Activity(user), "activity", &payload, None);
        }
        let (kind, what) = action.split_once('.').unwrap_or((action, ""));
        match kind {
            "workflow" => {
                let payload = json!({ "name": id, "timestamp": timestamp });
                let event = format!("workflow:{what}");
                hub.tell(Topic::Workflows(tenant), &event, &payload, None);
                if what == "created" {
                    hub.tell(Topic::Tenant(tenant), &event, &payload, None);
                }
            }
            "member" => {
                let payload = json!({ "member": id, "change": what, "timestamp": timestamp });
                hub.tell(Topic::Tenant(tenant), "member:updated", &payload, None);
            }
            "tenant" if what == "configured" => {
                let payload = json!({ "timestamp": timestamp });
                hub.tell(Topic::Tenant(tenant), "tenant:config_updated", &payload, None);
            }
            _ => {}
        }
    }
    for alert in &change.alerts {
        let mut payload = json!({ "type": "alert" });
        for key in ["id", "rule", "severity", "message", "at", "acknowledged_at"] {
            payload[key] = alert[key].clone();
        }
        hub.tell_watched(tenant, Watched::Security, "alert", &payload);
    }
}

#[cfg(test)]
mod tests {
    use traaviis_model::SessionId;
    use traaviis_platform::{audit::Via, caller::Proof, rules::SessionAge, user::PlatformRole};
    use uuid::Uuid;

    use super::*;

    fn caller(user: u128, tenant: u128) -> Caller {
        let id = SessionId(Uuid::from_u128(9));
        Caller {
            user: UserId(Uuid::from_u128(user)),
            platform_role: PlatformRole::User,
            proof: Proof::Session {
                id,
                is_fresh: false,
                is_mfa: false,
                confined: None,
                age: SessionAge::default(),
            },
            scoped_to: Some(TenantId(Uuid::from_u128(tenant))),
            via: Via::default(),
        }
    }

    #[test]
    fn a_change_concerns_those_whom_it_is_about_and_who_has_missed_one() {
        let news = News::default();
        let (mut seen, tenants) = (0, |it: u128| std::iter::once(TenantId(Uuid::from_u128(it))));
        let concerns = |caller: &Caller, seen: u64| {
            let (mut seen, at) = (Some(seen), Arc::clone(&news.touched.borrow()));
            at.concerns(&mut seen, caller, tenants(5))
        };
        let (ada, bob) = (caller(1, 3), caller(2, 4));
        assert!(!concerns(&ada, seen), "nothing has changed");
        for (tenant, user, of_ada, of_bob) in
            [(3, 8, true, false), (4, 8, false, true), (5, 8, true, true), (7, 1, true, false)]
        {
            news.publish(Touched {
                tenants: tenants(tenant).collect(),
                users: [UserId(Uuid::from_u128(user))].into(),
                ..Touched::default()
            });
            assert_eq!((concerns(&ada, seen), concerns(&bob, seen)), (of_ada, of_bob));
            seen += 1;
        }
        assert!(concerns(&bob, 0), "four were missed");
    }

    #[test]
    fn what_concerns_no_rights_touches_nobody() {
        let (tenant, body) = (TenantId(Uuid::from_u128(3)), Some(json!({ "outcome": "ok" })));
        let put = |kind: &str| (kind.into(), "1".into(), body.clone());
        let of = |put: Put, entries: Vec<Json>| Change::of(tenant, &[put], entries);
        let audited = of(put("audit_place"), vec![json!({ "outcome": "ok" })]).unwrap();
        assert!(!audited.rights && audited.entries.len() == 1);
        assert!(of(put("audit_place"), Vec::new()).is_none());
        assert!(of(put("member"), Vec::new()).unwrap().rights);
        let user = Uuid::from_u128(7);
        let session = (Session::KIND.into(), format!("{user}/9").into(), None);
        let ended = Change::of(PLATFORM, &[session], Vec::new()).unwrap();
        assert_eq!((ended.rights, ended.users), (false, vec![UserId(user)]));
    }
}
