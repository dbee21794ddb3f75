//! What may stand in the texts of requests: how long they are, of which characters, which words.
//!
//! Whoever takes a request checks with these, and the description of the interface is made from
//! them, so neither promises what the other refuses.
//! Invariant: a pattern means the same to Rust, to ECMA 262 and to Python, so classes are written
//! out; what counts as space around a text is what [`str::trim`] takes away.

use crate::limits::{CORRELATION_CHARS_MAX, TAG_CHARS_MAX};

/// What a text is like, without the spaces around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Characters at least, not counting spaces around them.
    pub least: usize,
    /// Characters at most, all of them.
    pub most: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Any characters.
    Prose,
    /// No control characters, so it stays in one line wherever it is shown.
    Line,
    /// The same, and no spaces around it.
    Tag,
}

/// Everything but control characters.
const PLAIN: &str = r"[^\u0000-\u001f\u007f-\u009f]";
/// The same without spaces.
const PLAIN_INK: &str = "[^\\u0000-\\u0020\\u007f-\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\
                         \\u202f\\u205f\\u3000]";
/// Everything.
const ANY: &str = r"[\s\S]";
/// The same without spaces.
const ANY_INK: &str = "[^\\u0009-\\u000d\\u0020\\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\
                       \\u202f\\u205f\\u3000]";

impl Form {
    /// A word that is found again: one line, and no spaces around it.
    pub const fn tag(most: usize) -> Form {
        Form { least: 1, most, kind: Kind::Tag }
    }

    /// A text of one line.
    pub const fn line(least: usize, most: usize) -> Form {
        Form { least, most, kind: Kind::Line }
    }

    /// A text of any number of lines.
    pub const fn prose(least: usize, most: usize) -> Form {
        Form { least, most, kind: Kind::Prose }
    }

    /// Returns a text without the spaces around it, if it is like this.
    pub fn read(self, text: &str) -> Option<&str> {
        let plain = text.trim();
        let is_good = text.chars().count() <= self.most
            && plain.chars().count() >= self.least
            && (self.kind == Kind::Prose || !text.chars().any(char::is_control))
            && (self.kind != Kind::Tag || plain == text);
        is_good.then_some(plain)
    }

    /// Returns what the characters of such a text look like, where that says more than their count.
    pub fn pattern(self) -> Option<String> {
        let (any, ink) = match self.kind {
            Kind::Prose => (ANY, ANY_INK),
            Kind::Line | Kind::Tag => (PLAIN, PLAIN_INK),
        };
        let core = match (self.least, self.kind) {
            (0, Kind::Prose) => return None,
            (0, _) => return Some(format!("^{any}*$")),
            (1, Kind::Tag) => return Some(format!("^{ink}({any}*{ink})?$")),
            (1, _) => ink.to_owned(),
            (2, _) => format!("{ink}{any}*{ink}"),
            (more, _) => format!("{ink}{any}{{{},}}{ink}", more - 2),
        };
        match self.kind {
            Kind::Prose => Some(core),
            Kind::Line | Kind::Tag => Some(format!("^{any}*{core}{any}*$")),
        }
    }
}

/// A word by which instances are found.
pub const TAG: Form = Form::tag(TAG_CHARS_MAX);
/// A business key that a caller gives an instance.
pub const CORRELATION: Form = Form::tag(CORRELATION_CHARS_MAX);
/// Name of a person.
pub const PERSON_NAME: Form = Form::line(2, 100);
/// Name of a tenant, of a role, of a key, of a service account.
pub const NAME: Form = Form::line(1, 100);
/// What somebody calls a second factor.
pub const FACTOR_NAME: Form = Form::line(1, 60);
/// Name of a rule for alerts.
pub const RULE_NAME: Form = Form::line(1, 80);
/// Address of a picture: as long as any address.
pub const PICTURE: Form = Form::line(0, 2_048);
/// Language: longer than any tag that RFC 5646 asks programs to hold.
pub const LOCALE: Form = Form::line(0, 35);
/// Time zone of a person: the longest name of IANA has 32 characters.
pub const TIMEZONE: Form = Form::line(0, 64);
/// Domain of a tenant: the longest name that DNS can hold.
pub const DOMAIN: Form = Form::line(0, 253);
/// By what a payment is found: what SEPA transfers carry.
pub const REFERENCE: Form = Form::line(1, 140);
/// Why somebody looks into a tenant, or takes factors away: the trail is to say something.
pub const OPERATOR_REASON: Form = Form::prose(10, 500);
/// Why something is taken off an invoice; it is printed on the note.
pub const CREDIT_REASON: Form = Form::prose(1, 500);
/// Why changes are refused; every refusal repeats it.
pub const MAINTENANCE_REASON: Form = Form::prose(0, 200);
/// What one says about a named effect.
pub const DESCRIPTION: Form = Form::prose(0, 500);

/// Characters of a password at least.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Characters of a password at most: hashing takes the same time for all of them.
pub const PASSWORD_CHARS_MAX: usize = 128;

/// The field that a list is sorted by.
pub const SORT: &str = "^-?[a-z0-9_]+$";
/// Fields of the items of a list.
pub const FIELDS: &str = "^[a-z0-9_]+(,[a-z0-9_]+)*$";
/// Short name of a tenant.
pub const SLUG: &str = "^[a-z0-9-]{2,40}$";
/// Short names that would be mistaken for something else.
pub const SLUGS_RESERVED: &[&str] = &[
    "current", "www", "api", "app", "admin", "auth", "me", "new", "system", "platform", "traaviis",
];
/// Name of a workflow.
pub const WORKFLOW_NAME: &str = "^[A-Za-z][A-Za-z0-9_-]{0,62}$";
/// Name of an effect that a tenant keeps.
pub const EFFECT_NAME: &str = "^[A-Za-z_][A-Za-z0-9_-]{0,62}$";
/// Name of a secret.
pub const SECRET_NAME: &str = "^[a-z][a-z0-9_]{0,62}$";
/// Name of an issuer of a tenant.
pub const ISSUER_NAME: &str = "^[a-z0-9-]{1,40}$";
/// A duration: numbers with units, or ISO 8601.
pub const SPAN: &str = "^(([0-9]{1,9}(\\.[0-9]{1,6})?(w|d|h|ms|us|m|s))+\
    |P([0-9]{1,9}[WD])*(T([0-9]{1,9}[HMS])+)?)$";
/// A month.
pub const MONTH: &str = "^[0-9]{4}-(0[1-9]|1[0-2])$";
/// An amount of money with at most 6 decimals.
pub const MONEY: &str = "^[0-9]{1,12}(\\.[0-9]{0,6})?$";
/// How a feature flag is set.
pub const FLAG_SETTING: &str = "^(on|off|0*([0-9]{1,2}|100)%)$";
/// The same, or as it is while nobody has set it.
pub const FLAG_SETTING_OR_DEFAULT: &str = "^(on|off|default|0*([0-9]{1,2}|100)%)$";
/// A network, or an address.
pub const NETWORK: &str = "^[0-9A-Fa-f:.]{2,45}(/[0-9]{1,3})?$";
/// Id of an instance that a caller chooses: a UUID of version 7.
pub const CHOSEN_ID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$";
/// How long a request waits: for the step, for the end, or for a state.
pub const WAIT: &str = "^(step|final|state:[\\s\\S]+)$";

/// Plans of tenants.
pub const PLANS: &[&str] = &["free", "starter", "pro", "enterprise", "self_hosted"];
/// Parts in which usage is told.
pub const USAGE_PARTS: &[&str] = &["day", "workflow", "model"];
/// What a rule for alerts can be about.
pub const MEASURES: &[&str] = &[
    "failed_instances",
    "incidents_opened",
    "login_failures",
    "incidents_open",
    "usage_percent",
    "budget_percent",
    "queue_age",
    "breakers_opened",
    "schedules_missed",
];
/// Happenings that a rule may let pass: their times are remembered, 8 bytes each.
pub const ABOVE_MAX: u64 = 1_000;
/// How soon somebody should look.
pub const SEVERITIES: &[&str] = &["critical", "high", "medium"];
/// What webhooks are told.
pub const WEBHOOK_EVENTS: &[&str] = &[
    "created",
    "transition",
    "emitted",
    "finished",
    "incident_opened",
    "incident_resolved",
    "task_created",
    "task_delegated",
    "task_decided",
    "task_expired",
    "paused",
    "resumed",
    "upgraded",
    "alert",
];
/// When a run of a schedule is open still.
pub const OVERLAPS: &[&str] = &["skip", "queue", "allow", "cancel_running"];
/// Runs of a schedule that were missed.
pub const CATCH_UPS: &[&str] = &["latest", "all", "none"];
/// Instances that a job or an upgrade takes in a second at most.
pub const RATE_MAX: u32 = 1_000;
/// Percent of the instances that go first in an upgrade at most: a half is no trial.
pub const CANARY_PERCENT_MAX: u8 = 50;
/// Seconds for which an API key lives at most: two years.
pub const KEY_LIFE_SECS_MAX: i64 = 730 * 24 * 3_600;
/// Networks of an API key.
pub const NETWORKS_MAX: usize = 50;
/// Workflows that a secret can be limited to by name.
pub const SECRET_WORKFLOWS_MAX: usize = 100;
/// Characters of an address that is told or asked.
pub const URL_CHARS_MAX: usize = 2_048;
/// Domains of whose addresses an issuer may bring people.
pub const DOMAINS_MAX: usize = 50;
/// Rules of an issuer; each is evaluated at each login.
pub const RULES_MAX: usize = 50;
/// Characters of a rule of an issuer.
pub const RULE_CHARS_MAX: usize = 1_000;
/// Steps of a simulation: more than a person follows, and each may lead to many more.
pub const SIMULATED_STEPS_MAX: usize = 100;
/// Events of a batch.
pub const BATCH_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_around_a_text_do_not_count_and_length_does() {
        for (form, good, bad) in [
            (PERSON_NAME, vec!["Al", " Al ", "a b", "Åsa\u{a0}"], vec!["A", " A ", "A\u{85}b"]),
            (NAME, vec!["A", "\u{3000}A"], vec!["", " ", "a\nb", "\u{7f}"]),
            (PICTURE, vec!["", " "], vec!["a\tb"]),
            (OPERATOR_REASON, vec!["ten\nletters"], vec!["too short", "         \n          "]),
            (DESCRIPTION, vec!["", "a\nb"], vec![]),
            (TAG, vec!["a", "a b"], vec!["", " a", "a\u{a0}", "a\tb"]),
        ] {
            for text in good {
                assert_eq!(form.read(text), Some(text.trim()), "{form:?} {text:?}");
            }
            for text in bad {
                assert_eq!(form.read(text), None, "{form:?} {text:?}");
            }
            let longest = "x".repeat(form.most);
            assert!(form.read(&longest).is_some());
            assert_eq!(form.read(&format!("{longest} ")), None);
        }
    }
}
