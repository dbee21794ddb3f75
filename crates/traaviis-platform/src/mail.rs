//! Mail that the platform sends: what it says, and the queue that keeps everybody from waiting.
//!
//! ```text
//! use case -> Outbox::post (never waits) -> queue -> one thread -> Mailer
//! ```
//!
//! The queue is in memory: a mail that a crash takes along is asked for again, or whoever posted it
//! hears what became of it and keeps it until then. A mail that cannot be sent is told to the
//! operator and counted; no use case fails for it.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use traaviis_ports::{Mail, MailError, Mailer};

/// Mails that wait: at 1 KiB each this is 1 MiB, and at the pace of a slow server an hour.
pub const MAILS_WAITING_MAX: usize = 1_000;
/// Waits before a mail is tried again; after the last one it is given up. All other mail waits
/// meanwhile, since a server that is away is away for all of it.
const RETRIES: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

/// How mail went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// On its way.
    pub sent: u64,
    /// Given up.
    pub failed: u64,
    /// Not taken into the queue: it was full, or there is no mailer.
    pub dropped: u64,
}

/// Letters that were given up, one behind the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failing {
    /// How many.
    pub count: u64,
    /// What was said of the last one.
    pub why: String,
}

#[derive(Debug, Default)]
struct Counters {
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    /// None: the last letter was sent.
    failing: Mutex<Option<Failing>>,
}

impl Counters {
    fn note(&self, sent: &Result<(), MailError>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Ok(()) => {
                self.sent.fetch_add(1, Ordering::Relaxed);
                *failing = None;
            }
            Err(error) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                let count = failing.take().map_or(1, |it| it.count + 1);
                *failing = Some(Failing { count, why: error.to_string() });
            }
        }
    }
}

/// Takes mail and sends it in the background.
pub struct Outbox {
    queue: Option<SyncSender<Posted>>,
    counters: Arc<Counters>,
    tell: Arc<Tell>,
    /// Only the one to whom a mail is addressed reads it.
    is_private: bool,
}

/// Told what became of a mail, on the thread that carries mail, so it must be short.
pub(crate) type Told = Box<dyn FnOnce(Result<(), MailError>) + Send>;

/// A mail, and who is told what becomes of it.
type Posted = (Mail, Option<Told>);

/// Tells an operator something.
type Tell = dyn Fn(&str) + Send + Sync;

impl Outbox {
    /// Returns one that sends nothing, and counts what it was given.
    pub fn closed() -> Outbox {
        let (counters, tell): (_, Arc<Tell>) = (Arc::default(), Arc::new(|_: &str| {}));
        Outbox { queue: None, counters, tell, is_private: false }
    }

    /// Returns one that sends; `tell` is told what an operator should know.
    pub fn open(
        mailer: Box<dyn Mailer>,
        tell: impl Fn(&str) + Send + Sync + 'static,
    ) -> std::io::Result<Outbox> {
        let (queue, waiting) = sync_channel(MAILS_WAITING_MAX);
        let (counters, tell): (Arc<Counters>, Arc<Tell>) = (Arc::default(), Arc::new(tell));
        let (counts, tells) = (Arc::clone(&counters), Arc::clone(&tell));
        thread::Builder::new()
            .name("mail".into())
            .spawn(move || carry(&*mailer, &waiting, &counts, &*tells))?;
        Ok(Outbox { queue: Some(queue), counters, tell, is_private: false })
    }

    /// Returns one whose mail is read by those alone to whom it is addressed: what a mail tells is
    /// told to nobody else.
    #[must_use]
    pub fn private(self) -> Outbox {
        Outbox { is_private: true, ..self }
    }

    /// Says whether mail is read by those alone to whom it is addressed.
    pub(crate) fn is_private(&self) -> bool {
        self.is_private
    }

    /// Says whether mail reaches anybody.
    pub fn is_open(&self) -> bool {
        self.queue.is_some()
    }

    /// Takes a mail; never waits.
    pub fn post(&self, mail: Mail) {
        let Some(queue) = &self.queue else {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        if queue.try_send((mail, None)).is_err() {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            (self.tell)(&format!("a mail was dropped: {MAILS_WAITING_MAX} wait already"));
        }
    }

    /// Takes a mail of which somebody is told what becomes of it; says whether there was room.
    pub(crate) fn post_then(&self, mail: Mail, told: Told) -> bool {
        self.queue.as_ref().is_some_and(|it| it.try_send((mail, Some(told))).is_ok())
    }

    /// Says why letters are not sent, since the last one that was.
    pub(crate) fn failing(&self) -> Option<Failing> {
        self.counters.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how mail went.
    pub fn counts(&self) -> MailCounts {
        MailCounts {
            sent: self.counters.sent.load(Ordering::Relaxed),
            failed: self.counters.failed.load(Ordering::Relaxed),
            dropped: self.counters.dropped.load(Ordering::Relaxed),
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// Sends what waits until nobody can post any more.
fn carry(mailer: &dyn Mailer, waiting: &Receiver<Posted>, counts: &Counters, tell: &dyn Fn(&str)) {
    while let Ok((mail, told)) = waiting.recv() {
        let sent = persist(mailer, &mail);
        counts.note(&sent);
        if let Err(error) = &sent {
            tell(&format!("a mail was not sent: {error}"));
        }
        if let Some(told) = told {
            told(sent);
        }
    }
}

fn persist(mailer: &dyn Mailer, mail: &Mail) -> Result<(), MailError> {
    let mut waits = RETRIES.iter();
    loop {
        match (mailer.send(mail), waits.next()) {
            (Err(MailError::Later(_)), Some(wait)) => thread::sleep(*wait),
            (result, _) => return result,
        }
    }
}

/// What a mail is about. Subjects hold no words of users, so nobody can write them to strangers.
#[derive(Clone, Copy, Debug)]
pub enum Letter<'a> {
    /// The address is to be confirmed.
    Verify {
        /// Token.
        token: &'a str,
    },
    /// Somebody asked for a new password.
    Reset {
        /// Token.
        token: &'a str,
    },
    /// Somebody wanted to register with an address that has an account.
    RegisteredAlready,
    /// Somebody invites into a tenant.
    Invited {
        /// Name of the tenant.
        tenant: &'a str,
        /// Token.
        token: &'a str,
    },
    /// Too many logins have failed.
    SlowedDown,
    /// The password is another one.
    PasswordChanged,
    /// A second factor was added.
    FactorAdded {
        /// What it is called.
        name: &'a str,
    },
    /// A second factor was taken away.
    FactorRemoved {
        /// What it is called.
        name: &'a str,
    },
    /// All second factors were taken away by who looks after the platform.
    FactorsReset,
    /// There are new recovery codes.
    RecoveryCodesMade,
    /// A recovery code was used.
    RecoveryCodeUsed {
        /// How many are left.
        left: usize,
    },
    /// Something happens in a tenant that one looks after.
    Alert {
        /// Name of the tenant.
        tenant: &'a str,
        /// What has happened.
        message: &'a str,
    },
}

/// What to do about news that are no news to the owner.
const NOT_YOU: &str = "If this was not you, reset your password and end your other sessions.";

impl Letter<'_> {
    /// Writes the mail; `base` is the address of the platform.
    pub fn write(&self, to: &str, base: &str) -> Mail {
        let api = format!("{base}/api/v1");
        let (subject, text) = match self {
            Letter::Verify { token } => (
                "Confirm your e-mail address",
                format!(
                    "Somebody has registered with this address at {base}.\n\nTo confirm it, give \
                     this code within 24 hours:\n\n{token}\n\nPrograms send it to `POST \
                     {api}/auth/verify`.\nIf this was not you, there is nothing to do.\n"
                ),
            ),
            Letter::Reset { token } => (
                "Reset your password",
                format!(
                    "Somebody asks for a new password of the account with this address at \
                     {base}.\n\nTo set one, give this code within 15 minutes:\n\n{token}\n\n\
                     Programs send it to `POST {api}/auth/reset/confirm`.\nIf this was not you, \
                     there is nothing to do; the password stays.\n"
                ),
            ),
            Letter::RegisteredAlready => (
                "You have an account already",
                format!(
                    "Somebody wanted to register with this address at {base}, where it has an \
                     account.\n\nLog in, or reset the password.\nIf this was not you, there is \
                     nothing to do.\n"
                ),
            ),
            Letter::Invited { tenant, token } => (
                "You are invited",
                format!(
                    "You are invited to \"{tenant}\" at {base}.\n\nTo accept, give this code \
                     within 7 days:\n\n{token}\n\n`traaviis login {to} --server {base} \
                     --invitation CODE` accepts it with a new account.\nIf you expected nothing \
                     of the kind, there is nothing to do.\n"
                ),
            ),
            Letter::SlowedDown => (
                "Logins to your account have failed",
                format!(
                    "Ten logins to your account at {base} have failed within 15 minutes.\nFor a \
                     while each further one has to wait; your account is not locked.\n\n\
                     {NOT_YOU}\n"
                ),
            ),
            Letter::PasswordChanged => (
                "Your password was changed",
                format!("The password of your account at {base} is another one.\n\n{NOT_YOU}\n"),
            ),
            Letter::FactorAdded { name } => (
                "A second factor was added",
                format!("\"{name}\" now belongs to your account at {base}.\n\n{NOT_YOU}\n"),
            ),
            Letter::FactorRemoved { name } => (
                "A second factor was removed",
                format!("\"{name}\" was removed from your account at {base}.\n\n{NOT_YOU}\n"),
            ),
            Letter::FactorsReset => (
                "Your second factors were removed",
                format!(
                    "Who looks after {base} has removed the second factors of your account, and \
                     ended its sessions.\nLog in with your password, and add a factor again.\n\n\
                     If you have not asked for this, reset your password, and tell them.\n"
                ),
            ),
            Letter::RecoveryCodesMade => (
                "New recovery codes",
                format!(
                    "Your account at {base} has new recovery codes; earlier ones are void.\n\n\
                     {NOT_YOU}\n"
                ),
            ),
            Letter::RecoveryCodeUsed { left } => (
                "A recovery code was used",
                format!(
                    "Somebody logged in to your account at {base} with a recovery code; {left} \
                     are left.\n\n{NOT_YOU}\n"
                ),
            ),
            Letter::Alert { tenant, message } => (
                "An alert of your organisation",
                format!(
                    "In \"{tenant}\" at {base}: {message}.\n\n`GET \
                     {api}/tenants/current/alerts` tells more. You are written to because you \
                     look after this organisation; its rules and budgets say when.\n"
                ),
            ),
        };
        Mail { to: to.to_owned(), subject: subject.to_owned(), text, id: None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Condvar, Mutex};

    use super::*;

    /// Holds every mail until it is let go.
    #[derive(Default)]
    struct Gate(Mutex<bool>, Condvar);

    struct Held(Arc<Gate>);

    impl Mailer for Held {
        fn send(&self, mail: &Mail) -> Result<(), MailError> {
            let open = self.0.0.lock().unwrap();
            drop(self.0.1.wait_while(open, |it| !*it).unwrap());
            match mail.to.as_str() {
                "nobody@example.org" => Err(MailError::Refused("it answers 550".into())),
                _ => Ok(()),
            }
        }
    }

    fn mail(to: &str) -> Mail {
        Letter::PasswordChanged.write(to, "https://a.example")
    }

    #[test]
    fn nobody_waits_for_mail_and_the_queue_has_a_bound() {
        let (gate, told) = (Arc::new(Gate::default()), Arc::new(Mutex::new(Vec::new())));
        let tells = Arc::clone(&told);
        let tell = move |it: &str| tells.lock().unwrap().push(it.to_owned());
        let outbox = Outbox::open(Box::new(Held(Arc::clone(&gate))), tell).unwrap();
        outbox.post(mail("nobody@example.org"));
        // One is being sent, or about to be; so many wait, and the last ones find no place.
        for _ in 0..MAILS_WAITING_MAX + 2 {
            outbox.post(mail("ada@example.org"));
        }
        let dropped = outbox.counts().dropped;
        assert!((2..=3).contains(&dropped), "{dropped}");
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let all = MAILS_WAITING_MAX as u64 + 3;
        while outbox.counts().sent + outbox.counts().failed + dropped < all {
            thread::yield_now();
        }
        assert_eq!(outbox.counts().failed, 1);
        let told = told.lock().unwrap().join("\n");
        assert!(told.contains("550") && told.contains("dropped"), "{told}");
        assert!(!told.contains("example.org"), "{told}");
        let closed = Outbox::closed();
        closed.post(mail("ada@example.org"));
        assert_eq!(closed.counts(), MailCounts { dropped: 1, ..MailCounts::default() });
    }

    #[test]
    fn what_debugging_shows_of_a_mail_is_nothing() {
        let mail = Letter::Reset { token: "trv_rst_x" }.write("ada@example.org", "https://a");
        assert!(mail.text.contains("trv_rst_x"));
        assert_eq!(format!("{mail:?}"), "Mail(..)");
    }
}
