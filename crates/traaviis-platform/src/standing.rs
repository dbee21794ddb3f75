//! How the parts of the platform stand, for whoever is woken at night: each says what is wrong,
//! what it means, and what to look at.

use crate::{engine::Component, platform::Platform};

impl Platform {
    /// Returns the parts of the platform; those that nobody uses are left out.
    pub fn components(&self) -> Vec<Component> {
        let mail = self.outbox.is_open().then(|| match self.outbox.failing() {
            None => Component::ok("mail"),
            Some(failing) => Component::degraded(
                "mail",
                format!(
                    "the last {} letters were not sent: {}; look at `mail.smtp_url` and at its \
                     server",
                    failing.count, failing.why
                ),
            ),
        });
        let maintenance = self.refuse_in_maintenance().err().map(|refusal| {
            let why = format!("{refusal}; `traaviis admin maintenance off` ends it");
            Component::degraded("maintenance", why)
        });
        [Some(self.documents()), mail, maintenance].into_iter().flatten().collect()
    }

    fn documents(&self) -> Component {
        if let Some((_, why)) = self.lost_tenants().into_iter().next() {
            return Component::degraded("documents", why);
        }
        match self.ledgers.rows_left() {
            0 => Component::ok("documents"),
            rows => Component::degraded(
                "documents",
                format!(
                    "{rows} changes are in the log and not yet in the database `documents`, which \
                     takes nothing; lists show what was before; look at its disk and its rights"
                ),
            ),
        }
    }
}
