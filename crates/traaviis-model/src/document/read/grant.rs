//! `permissions` of the document and of a state: what may be reached.

use crate::{
    document::read::{At, Keys, Reader},
    grant::{Grant, GrantKind, host_pattern},
    ids::Text,
    limits::GRANT_NAMES_MAX,
};

pub(super) const KNOWN: &[&str] =
    &["models", "tools", "hosts", "secrets", "workflows", "approve_untrusted"];

impl Reader {
    pub(super) fn grant(&mut self, at: &At<'_>) -> Grant {
        let mut grant = Grant::default();
        let Some(fields) = self.fields(at, &Keys::new("`permissions`", KNOWN)) else {
            return grant;
        };
        for kind in GrantKind::ALL {
            if let Some(at) = fields.get(kind.as_str()) {
                let names = self.granted(&at, kind);
                grant.insert(kind, names);
            }
        }
        if let Some(at) = fields.get("approve_untrusted") {
            grant.approve_untrusted = self.flag(&at).unwrap_or(false);
            // Nothing that this release performs lets a model choose what a tool is called with.
            self.not_applied(&at, "approve_untrusted");
        }
        grant
    }

    fn granted(&mut self, at: &At<'_>, kind: GrantKind) -> Vec<Text> {
        let items = self.list(at);
        self.at_most(at, items.len(), GRANT_NAMES_MAX, "names");
        let mut names = Vec::new();
        for item in &items {
            let Some(name) = self.words(item) else { continue };
            if name.contains("${") {
                let message = format!("{} must not be computed", item.name());
                let hint = "write the name, or a pattern in which `*` stands for any characters";
                self.report(item.error("E101", message).hint(hint));
            }
            names.push(match kind {
                GrantKind::Hosts => self.host(&name, item),
                _ => name,
            });
        }
        names
    }

    fn host(&mut self, name: &Text, at: &At<'_>) -> Text {
        if name.contains('/') {
            let message = format!("`{name}` is not a host");
            let hint = "write host and port without a path, such as api.example.com:443";
            self.report(at.error("E101", message).hint(hint));
        }
        host_pattern(name)
    }
}
