//! Carries mail: over SMTP, or into a folder where a developer reads it.
//!
//! ```text
//! smtps://user:password@mail.example.org          TLS from the first byte, port 465
//! smtp://user:password@mail.example.org           STARTTLS is demanded, port 587
//! smtp://127.0.0.1:25                             plain: it stays on this machine
//! smtp://relay.internal:25?tls=none               plain, because the operator says so
//! file:mail                                       one `.eml` a mail in that folder
//! ```
//!
//! Invariants: no error names an address or what a mail says; a password never leaves over a
//! connection that is neither encrypted nor inside this machine, unless the operator says so.

use std::{
    fs,
    io::Write as _,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use lettre::{
    Message, SmtpTransport, Transport as _,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType},
    },
};
use traaviis_ports::{Mail, MailError, Mailer};
use url::{Host, Url};
use uuid::Uuid;

/// Time for each step of a conversation with a mail server; longer means it is away.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);

/// Bytes of a line of a mail (RFC 5322, section 2.1.1).
const LINE_BYTES_MAX: usize = 998;

/// Why mail cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum MailSetupError {
    /// The address of the mail server cannot be used.
    #[error("`--mail-url` is `smtp://`, `smtps://` or `file:FOLDER`: {0}")]
    Url(String),
    /// The sender is no address.
    #[error("`{0}` is no sender such as `TRAAVIIS <no-reply@example.org>`")]
    From(String),
    /// The folder cannot be made.
    #[error("cannot make the folder `{}`", .0.display())]
    Folder(PathBuf, #[source] std::io::Error),
}

/// Returns what carries mail to an address that an operator gave.
pub fn mailer(url: &str, from: &str) -> Result<Box<dyn Mailer>, MailSetupError> {
    match url.strip_prefix("file:") {
        Some(folder) => Ok(Box::new(FolderMailer::new(Path::new(folder), from)?)),
        None => Ok(Box::new(SmtpMailer::new(url, from)?)),
    }
}

/// Carries mail over SMTP.
pub struct SmtpMailer {
    transport: SmtpTransport,
    from: Mailbox,
}

impl SmtpMailer {
    /// Returns one for the address of a mail server.
    pub fn new(url: &str, from: &str) -> Result<SmtpMailer, MailSetupError> {
        // The address holds a password; no message repeats it.
        let wrong = |why: &str| MailSetupError::Url(why.to_owned());
        let mut parsed = Url::parse(url).map_err(|_| wrong("this is no address"))?;
        if !matches!(parsed.scheme(), "smtp" | "smtps") {
            return Err(wrong("the scheme is another one"));
        }
        let is_local = match parsed.host() {
            // In an address of mail the parser takes an IPv4 address for a name.
            Some(Host::Domain(name)) => {
                name == "localhost" || name.parse().is_ok_and(|it: IpAddr| it.is_loopback())
            }
            Some(Host::Ipv4(addr)) => addr.is_loopback(),
            Some(Host::Ipv6(addr)) => addr.is_loopback(),
            None => return Err(wrong("the host is missing")),
        };
        let tls = parsed.query_pairs().find(|it| it.0 == "tls").map(|it| it.1.into_owned());
        match (parsed.scheme(), tls.as_deref()) {
            ("smtps", _) | ("smtp", Some("required")) => {}
            ("smtp", Some("none")) => parsed.set_query(None),
            ("smtp", None) if is_local => {}
            ("smtp", None) => parsed.set_query(Some("tls=required")),
            // `opportunistic` is what anybody in between can switch off.
            (_, Some(_)) => return Err(wrong("`tls` is `required` or `none`")),
            _ => return Err(wrong("this is no address")),
        }
        let builder = SmtpTransport::from_url(parsed.as_str())
            .map_err(|_| wrong("the mail library does not take it"))?;
        let transport = builder.timeout(Some(SMTP_TIMEOUT)).build();
        Ok(SmtpMailer { transport, from: sender(from)? })
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = message(&self.from, mail)?;
        self.transport.send(&message).map(drop).map_err(|error| {
            // What a server says may repeat the address; its number says enough.
            let status = error.status().map_or_else(|| kind_of(&error).into(), |it| it.to_string());
            match error.is_permanent() {
                true => MailError::Refused(format!("it answers {status}").into()),
                false => MailError::Later(status.into()),
            }
        })
    }
}

fn kind_of(error: &lettre::transport::smtp::Error) -> &'static str {
    match () {
        () if error.is_timeout() => "no answer in time",
        () if error.is_tls() => "no encrypted connection",
        () if error.is_transient() => "it asks to try later",
        () if error.is_response() => "its answer is not understood",
        () if error.is_client() => "it does not offer what is asked for",
        () => "no connection",
    }
}

/// Puts mail into a folder, one file each.
pub struct FolderMailer {
    folder: PathBuf,
    from: Mailbox,
}

impl FolderMailer {
    /// Returns one, and makes the folder.
    pub fn new(folder: &Path, from: &str) -> Result<FolderMailer, MailSetupError> {
        fs::create_dir_all(folder)
            .map_err(|error| MailSetupError::Folder(folder.to_owned(), error))?;
        Ok(FolderMailer { folder: folder.to_owned(), from: sender(from)? })
    }
}

impl Mailer for FolderMailer {
    fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let failed = |error: std::io::Error| MailError::Later(error.kind().to_string().into());
        let bytes = message(&self.from, mail)?.formatted();
        // Names rise with time, and nobody else may read a token.
        let name = self.folder.join(format!("{}.eml", Uuid::now_v7()));
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(name).map_err(failed)?;
        file.write_all(&bytes).map_err(failed)
    }
}

fn sender(from: &str) -> Result<Mailbox, MailSetupError> {
    from.parse().map_err(|_| MailSetupError::From(from.to_owned()))
}

fn message(from: &Mailbox, mail: &Mail) -> Result<Message, MailError> {
    let to = mail.to.parse().map_err(|_| MailError::Refused("this is no address".into()))?;
    let id = mail.id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
    let id = format!("<{id}@{}>", from.email.domain());
    Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(mail.subject.clone())
        .message_id(Some(id))
        .header(ContentType::TEXT_PLAIN)
        .body(body(&mail.text))
        .map_err(|_| MailError::Refused("it cannot be written".into()))
}

/// Leaves a text as it is where the standard allows it, so that a token stays on its line; the
/// library would break lines of more than 76 characters.
fn body(text: &str) -> Body {
    let is_plain = text.is_ascii() && text.lines().all(|it| it.len() <= LINE_BYTES_MAX);
    match is_plain && !text.contains(['\r', '\0']) {
        true => {
            let lines = text.replace('\n', "\r\n").into_bytes();
            Body::dangerous_pre_encoded(lines, ContentTransferEncoding::SevenBit)
        }
        false => Body::new(text.to_owned()),
    }
}
