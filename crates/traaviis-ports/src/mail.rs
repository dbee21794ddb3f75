//! Mail to people: what is sent, and who carries it.
//!
//! Responsible for the vocabulary only; `traaviis-connect` carries mail over SMTP or into a folder.
//! A mailer may take long: whoever must not wait puts a queue before it.

use std::sync::Arc;

/// A mail of plain text to one person.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Address.
    pub to: String,
    /// Subject; one line.
    pub subject: String,
    /// Text.
    pub text: String,
    /// Part of its `Message-ID` before the `@`, for one that may be sent more than once, so that
    /// whoever receives it can drop what came before; of any other the mailer makes one up.
    pub id: Option<String>,
}

/// Tells nothing of a mail: it may hold a token, and always an address.
impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mail(..)")
    }
}

/// Why a mail was not taken. Names neither the address nor what the mail says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Trying again can help.
    #[error("the mail server cannot take it now: {0}")]
    Later(Arc<str>),
    /// It cannot.
    #[error("the mail is refused: {0}")]
    Refused(Arc<str>),
}

/// Carries mail.
pub trait Mailer: Send + Sync {
    /// Hands a mail over; it is on its way when this returns.
    fn send(&self, mail: &Mail) -> Result<(), MailError>;
}
