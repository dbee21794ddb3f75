//! Words of personal data: its types, what is done with what is found, and the key for that.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them, in the order of the language chapter.
            pub const ALL: &[$name] = &[$($name::$variant,)*];

            /// Returns the word of the language.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}

words! {
    /// A type of personal data.
    PiiType {
        /// Name of a person.
        Person = "PERSON",
        /// E-mail address.
        Email = "EMAIL",
        /// Telephone number.
        Phone = "PHONE",
        /// Street address, with the town when it stands there.
        Address = "ADDRESS",
        /// Town, region, country.
        Location = "LOCATION",
        /// Company or institution.
        Organization = "ORGANIZATION",
        /// Date of birth.
        Dob = "DOB",
        /// Age in years.
        Age = "AGE",
        /// Social security number of the United States.
        Ssn = "SSN",
        /// Number of an identity card.
        NationalId = "NATIONAL_ID",
        /// Number of a passport.
        Passport = "PASSPORT",
        /// Number of a driver's license.
        DriverLicense = "DRIVER_LICENSE",
        /// Number given by a tax office.
        TaxId = "TAX_ID",
        /// Number of a payment card.
        CreditCard = "CREDIT_CARD",
        /// International bank account number.
        Iban = "IBAN",
        /// Account number that is no IBAN.
        BankAccount = "BANK_ACCOUNT",
        /// Address of a crypto currency.
        Crypto = "CRYPTO",
        /// Internet address of a machine.
        Ip = "IP",
        /// Hardware address.
        Mac = "MAC",
        /// Web address.
        Url = "URL",
        /// Name of an account.
        Username = "USERNAME",
        /// API key, token, private key, password.
        Secret = "SECRET",
        /// Number of a patient or medical record.
        MedicalId = "MEDICAL_ID",
        /// What only the document knows to be personal.
        Custom = "CUSTOM",
    }
}

words! {
    /// What is done with personal data.
    PiiMode {
        /// The type stands in its place: `[EMAIL]`.
        Mask = "mask",
        /// The last four characters of a number stay.
        Partial = "partial",
        /// A keyed digest stands in its place; nobody leads it back.
        Hash = "hash",
        /// It stands there sealed: the same token for the same text, which whoever holds the key
        /// turns back.
        Tokenise = "tokenise",
        /// It is taken out.
        Drop = "drop",
        /// Whatever holds it is refused.
        Block = "block",
    }
}

impl PiiMode {
    /// Says whether what it writes depends on the key of the tenant.
    pub fn needs_key(self) -> bool {
        matches!(self, PiiMode::Hash | PiiMode::Tokenise)
    }
}

/// Bytes of a redaction key.
pub const REDACTION_KEY_BYTES: usize = 32;

/// What makes digests and tokens of one tenant differ from those of another. All copies share one
/// place in memory, which is overwritten when the last is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct RedactionKey(Arc<Zeroizing<[u8; REDACTION_KEY_BYTES]>>);

impl RedactionKey {
    /// Takes a key over.
    pub fn new(bytes: Zeroizing<[u8; REDACTION_KEY_BYTES]>) -> RedactionKey {
        RedactionKey(Arc::new(bytes))
    }

    /// Returns the key of runs that nobody keeps: tests and previews, the same each time.
    pub fn of_previews() -> RedactionKey {
        RedactionKey::new(Zeroizing::new(*b"traaviis: no secret, for preview"))
    }

    /// Returns the bytes; whoever asks keeps them out of everything that is kept or shown.
    pub fn expose(&self) -> &[u8; REDACTION_KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for RedactionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedactionKey(..)")
    }
}

/// What is done with personal data in the input and the value of one effect: `redact`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// Of what goes out; none leaves it as it is.
    pub input: Option<PiiMode>,
    /// The author has said what is done with what goes out, also when that is nothing.
    pub is_input_said: bool,
    /// Of what comes back; none leaves it as it is.
    pub output: Option<PiiMode>,
}
