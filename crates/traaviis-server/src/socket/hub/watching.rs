//! Monitoring on the topic of a tenant: a socket that has asked for it there is told what the
//! topics of monitoring tell, and does not join them.
//!
//! Whoever does is kept with the topic that is watched, beside those who have joined it; the
//! messages have other names, and say of what they are.

use std::sync::Arc;

use serde_json::{Value as Json, json};
use traaviis_model::TenantId;

use super::{Heard, Hub, Subscriber, Telling, Topic, Watched};

impl Hub {
    /// Lets a socket watch this of a tenant, and nothing else any more, on the topic of the tenant;
    /// nothing when it is not on that topic.
    pub fn watch(&self, tenant: TenantId, socket: u64, what: &[Watched]) -> Option<()> {
        let own = Topic::Tenant(tenant);
        // Topics of a tenant are in the same map.
        let mut topics = self.topics(&own);
        let found = topics.get(&own)?.by.iter().find(|it| it.socket == socket)?;
        let (outbox, sees) = (Arc::clone(&found.outbox), found.sees);
        for watched in Watched::ALL {
            let topic = Topic::Monitoring(tenant, watched);
            if what.contains(&watched) {
                let outbox = Arc::clone(&outbox);
                let subscriber = Subscriber { socket, outbox, sees, only: None };
                self.heard_of(&mut topics, topic).watched_by(subscriber);
            } else {
                self.take_off(&mut topics, &topic, |it| &mut it.through, socket);
            }
        }
        Some(())
    }

    /// Lets a socket watch nothing any more on the topic of a tenant; says whether it did.
    pub fn watch_no_more(&self, tenant: TenantId, socket: u64) -> bool {
        let mut topics = self.topics(&Topic::Tenant(tenant));
        let all = Watched::ALL.map(|it| Topic::Monitoring(tenant, it));
        let gone = all.map(|it| self.take_off(&mut topics, &it, |it| &mut it.through, socket));
        gone.contains(&true)
    }

    /// Tells everybody who watches something of a tenant.
    pub fn tell_watched(&self, tenant: TenantId, what: Watched, event: &str, payload: &Json) {
        let topic = Topic::Monitoring(tenant, what);
        if let Some(heard) = self.topics(&topic).get(&topic) {
            heard.tell_watched((tenant, what), event, payload);
        }
    }
}

impl Heard {
    fn watched_by(&mut self, subscriber: Subscriber) {
        self.through.retain(|it| it.socket != subscriber.socket);
        self.through.push(subscriber);
    }

    /// Tells whoever has joined the topic, and whoever watches it on that of the tenant.
    pub(super) fn tell_watched(
        &self,
        (tenant, what): (TenantId, Watched),
        event: &str,
        payload: &Json,
    ) {
        Telling::of(Topic::Monitoring(tenant, what), event, payload).to(&self.by);
        if self.through.is_empty() {
            return;
        }
        let mut payload = payload.clone();
        payload["resource_type"] = json!(what.as_str());
        let event = format!("monitoring:{event}");
        Telling::of(Topic::Tenant(tenant), &event, &payload).to(&self.through);
    }
}
