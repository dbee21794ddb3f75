//! Words of personal data: its types, and what is done with what is found.

use serde::{Deserialize, Serialize};

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
        /// A keyed token stands in its place, the same for the same text.
        Tokenise = "tokenise",
        /// It is taken out.
        Drop = "drop",
        /// Whatever holds it is refused.
        Block = "block",
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
