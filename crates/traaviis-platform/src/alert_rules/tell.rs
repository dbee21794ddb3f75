//! How an alert gets to people: mail to owners and administrators of the tenant.
//!
//! ```text
//! alert + whom to write of it (one change) -> queue of mails -> taken by the mail server
//!                                 ^                                      |
//!                                 +---- one person more is written to ---+
//! ```
//!
//! Whom to write to is a document beside the alert, and stays until each mail was taken by the mail
//! server, was refused by it, or could not be handed over for [`GIVEN_UP_AFTER`]. What waits in the
//! queue of mails is in memory, so a kill takes it along, and the next process writes it again.
//! Between the moment that a mail is taken and the one that this is durable a kill writes it once
//! more: with the same `Message-ID`, by which whoever receives mail drops the double.
//!
//! Webhooks and sockets need nothing here: an alert is a record of the log.

use std::{
    collections::HashMap,
    sync::{
        PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
};

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use traaviis_model::{Span, TenantCtx, TenantId, Text, Timestamp, UserId, permission::Permission};
use traaviis_ports::{Mail, MailError};

use super::ALERT_MAIL;
use crate::{
    caller::standing_of,
    error::Error,
    ledger::Document,
    mail::Letter,
    platform::{Platform, engine},
    tenant::{Member, MemberStatus, Tenant, TenantStatus},
};

/// People of a tenant who are written to.
const WRITTEN_MAX: usize = 20;
/// Roles of those who are written to.
const ROLES: &[&str] = &["owner", "admin"];
/// Mails of alerts that are on their way at once: other mail shall not wait behind a flood of them.
const UNDER_WAY_MAX: usize = 50;
/// Rests after a mail server could not be reached; the last one again and again. The queue of mails
/// has tried for half a minute before.
const RESTS: [Span; 4] =
    [Span::secs(60), Span::secs(5 * 60), Span::secs(15 * 60), Span::secs(3_600)];
/// A mail that could not be handed over for so long is given up: its news is old, and the alert
/// stands in the list of alerts.
pub const GIVEN_UP_AFTER: Span = Span::secs(24 * 3_600);

/// An alert of which people are still to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AlertMail {
    /// The alert.
    alert: Text,
    /// What has happened.
    message: String,
    /// Since when people are to be written; none in those of an earlier release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// To whom it was written, or for whom it was given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    done: Vec<UserId>,
    /// Only who may do this is written to, and not by their role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    may: Option<Permission>,
}

impl AlertMail {
    pub(crate) fn new(alert: Text, message: String, since: Timestamp) -> AlertMail {
        AlertMail { alert, message, since: Some(since), done: Vec::new(), may: None }
    }

    /// Writes to those who may do something, whatever their role is.
    pub(crate) fn for_who_may(self, permission: Permission) -> AlertMail {
        AlertMail { may: Some(permission), ..self }
    }
}

impl Document for AlertMail {
    const KIND: &'static str = ALERT_MAIL;

    fn id(&self) -> Text {
        self.alert.clone()
    }
}

/// People and their confirmed addresses.
type People = Vec<(UserId, String)>;
/// One mail: in which tenant, of which alert, to whom.
type Key = (TenantId, Text, UserId);

/// Mails of alerts that this process has begun with.
#[derive(Debug)]
pub(crate) struct Writing {
    begun: HashMap<Key, Stage>,
    answers: Receiver<(Key, Result<(), MailError>)>,
    answer: Sender<(Key, Result<(), MailError>)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// In the queue of mails, after so many attempts.
    UnderWay(usize),
    /// It could not be handed over, and is tried again then.
    Rests { until: Timestamp, attempts: usize },
    /// It was taken or refused, which is not yet noted.
    Over,
}

impl Default for Writing {
    fn default() -> Writing {
        let (answer, answers) = channel();
        Writing { begun: HashMap::new(), answers, answer }
    }
}

impl Writing {
    fn under_way(&self) -> usize {
        self.begun.values().filter(|it| matches!(it, Stage::UnderWay(_))).count()
    }

    /// Takes what the queue of mails tells.
    fn take_answers(&mut self, now: Timestamp) {
        while let Ok((key, result)) = self.answers.try_recv() {
            let Some(Stage::UnderWay(attempts)) = self.begun.get(&key).copied() else { continue };
            let stage = match result {
                Err(MailError::Later(_)) => {
                    let rest = RESTS[attempts.min(RESTS.len() - 1)];
                    Stage::Rests { until: now.plus(rest), attempts: attempts + 1 }
                }
                // Whoever refuses it now always will.
                Ok(()) | Err(MailError::Refused(_)) => Stage::Over,
            };
            self.begun.insert(key, stage);
        }
    }
}

impl Platform {
    /// Writes to people of which alerts they are still to be told; called again and again by one
    /// thread.
    pub(super) fn write_to_people(&self) -> Result<(), Error> {
        let now = self.now();
        let tenants = self.lookup(|it| it.with_mails());
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        writing.take_answers(now);
        // Of a tenant that is gone.
        writing.begun.retain(|it, _| tenants.contains(&it.0));
        for tenant in tenants {
            let ctx = TenantCtx::keeper_of(tenant);
            let mails = self.ledgers.read(&ctx, |it| it.list::<AlertMail>(""))?;
            let mut by_right: Vec<(Option<Permission>, String, People)> = Vec::new();
            let mut news = Vec::new();
            for mut mail in mails.into_iter().map(|it| it.it) {
                if !by_right.iter().any(|it| it.0 == mail.may) {
                    let (name, people) = match self.outbox.is_open() {
                        true => self.people(tenant, mail.may)?,
                        false => (String::new(), Vec::new()),
                    };
                    by_right.push((mail.may, name, people));
                }
                let Some((_, name, people)) = by_right.iter().find(|it| it.0 == mail.may) else {
                    continue;
                };
                let before = mail.done.clone();
                let letter = Letter::Alert { tenant: name, message: &mail.message };
                for (user, address) in people.iter().filter(|it| !before.contains(&it.0)) {
                    let key = (tenant, mail.alert.clone(), *user);
                    let write = || letter.write(address, &self.settings.issuer);
                    if self.is_over(&mut writing, key, now, mail.since, &write) {
                        mail.done.push(*user);
                    }
                }
                let is_over = people.iter().all(|it| mail.done.contains(&it.0));
                if is_over || mail.done != before {
                    news.push((mail, is_over));
                }
            }
            if news.is_empty() {
                continue;
            }
            self.ledgers.change(&ctx, &engine(), |_, changes| {
                for (mail, is_over) in &news {
                    match is_over {
                        true => changes.remove::<AlertMail>(&mail.alert),
                        false => changes.put(mail),
                    }
                }
                Ok(())
            })?;
            let noted = |it: &Key| {
                let of = |news: &(AlertMail, bool)| news.0.alert == it.1;
                it.0 == tenant && news.iter().any(|mail| of(mail) && mail.0.done.contains(&it.2))
            };
            writing.begun.retain(|it, _| !noted(it));
        }
        Ok(())
    }

    /// Says whether nothing is left to be done about a mail; otherwise hands it over, unless it is
    /// on its way, or rests, or there is no room: then it has another turn.
    fn is_over(
        &self,
        writing: &mut Writing,
        key: Key,
        now: Timestamp,
        since: Option<Timestamp>,
        write: &dyn Fn() -> Mail,
    ) -> bool {
        let attempts = match writing.begun.get(&key) {
            Some(Stage::Over) => return true,
            Some(Stage::UnderWay(_)) => return false,
            Some(Stage::Rests { .. })
                if since.is_some_and(|it| now.since(it) >= GIVEN_UP_AFTER) =>
            {
                return true;
            }
            Some(Stage::Rests { until, .. }) if *until > now => return false,
            Some(Stage::Rests { attempts, .. }) => *attempts,
            None => 0,
        };
        if writing.under_way() >= UNDER_WAY_MAX {
            return false;
        }
        let mail = Mail { id: Some(message_id(&key)), ..write() };
        let (answer, of) = (writing.answer.clone(), key.clone());
        // When the platform is gone nobody listens any more.
        let told = Box::new(move |sent| drop(answer.send((of, sent))));
        if self.outbox.post_then(mail, told) {
            writing.begun.insert(key, Stage::UnderWay(attempts));
        }
        false
    }

    /// Returns the name of a tenant, and who is written to, with their confirmed addresses: those
    /// who may do something, or owners and administrators.
    fn people(&self, id: TenantId, may: Option<Permission>) -> Result<(String, People), Error> {
        let ctx = TenantCtx::keeper_of(id);
        let (tenant, members) = self.ledgers.read(&ctx, |it| {
            Ok::<_, Error>((it.get::<Tenant>("tenant")?, it.list::<Member>("")?))
        })?;
        let Some(tenant) = tenant.filter(|it| it.status == TenantStatus::Active) else {
            return Ok((String::new(), Vec::new()));
        };
        let mut people = Vec::new();
        for member in members.into_iter().map(|it| it.it) {
            let is_asked = match may {
                Some(right) => self.ledgers.read(&ctx, |it| {
                    let standing = standing_of(it, member.user_id)?;
                    Ok::<_, Error>(standing.is_some_and(|it| it.0.permissions.has(right)))
                })?,
                None => ROLES.contains(&&*member.role),
            };
            let is_meant = member.status == MemberStatus::Active && is_asked;
            if !is_meant || people.len() >= WRITTEN_MAX {
                continue;
            }
            // A service account has no address.
            if let Some(user) = self.user(member.user_id)?
                && let Some(personal) = user.personal(&*self.vault)?
                && personal.email_verified
            {
                people.push((user.id, personal.email));
            }
        }
        Ok((tenant.name, people))
    }
}

/// Returns what tells the mail of one alert to one person from all others, and tells nobody which
/// tenant or person that is.
fn message_id((tenant, alert, user): &Key) -> String {
    let digest = digest(&SHA256, format!("{tenant}/{alert}/{user}").as_bytes());
    let hex: String = digest.as_ref()[..16].iter().map(|it| format!("{it:02x}")).collect();
    format!("alert-{hex}")
}
