//! `x-waive` on the document or a state: warnings that need no repair, each with the reason.

use crate::{
    definition::Waivers,
    document::read::{Fields, Reader, join, nearest},
};

impl Reader {
    /// Keeps the waivers of the document or of a state for everything below it.
    ///
    /// The key starts with `x-`, so it is free for every program; what stands in it is checked all
    /// the same, because a misspelt code would silence nothing.
    pub(super) fn waive(&mut self, fields: &Fields<'_>) {
        let Some(at) = fields.get("x-waive") else { return };
        for (key, entry) in self.map(&at) {
            let code = &key.text;
            if !Waivers::CODES.contains(&&**code) {
                let diagnostic = entry
                    .key_error("E101", format!("`{code}` is not a warning that can be waived"));
                let is_error = code.starts_with('E') && code.len() == 4;
                self.report(match nearest(code, Waivers::CODES.iter().copied()) {
                    _ if is_error => diagnostic.hint("errors must be repaired"),
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic.hint(format!("warnings are {}", join(Waivers::CODES))),
                });
            }
            if let Some(reason) = self.words(&entry) {
                self.waivers.insert(fields.at.pointer.clone(), code.clone(), reason);
            }
        }
    }
}
