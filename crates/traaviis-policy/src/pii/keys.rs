//! What the key of a text says about it.

use traaviis_model::privacy::PiiType;

use super::{Span, claims::Claims};

/// What a key says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// The text is this, or holds it.
    Type(PiiType),
    /// The text is a version, whatever it looks like.
    Version,
    /// The text is a number of something else.
    Other,
}

/// Keys of people, under which `name` is the name of a person.
const PEOPLE: &[&str] = &[
    "customer",
    "user",
    "person",
    "contact",
    "patient",
    "employee",
    "owner",
    "recipient",
    "sender",
    "client",
    "member",
    "driver",
    "guest",
    "applicant",
    "beneficiary",
    "payee",
    "payer",
    "author",
    "holder",
    "buyer",
    "seller",
    "tenant",
    "student",
    "teacher",
    "doctor",
    "manager",
    "assignee",
    "requester",
    "reporter",
    "passenger",
    "traveler",
    "traveller",
    "subscriber",
    "borrower",
    "insured",
    "claimant",
    "cardholder",
    "shipping",
    "billing",
    "shipto",
    "billto",
];

/// Keys of things, under which `name` is no name of a person.
const THINGS: &[&str] = &[
    "product",
    "item",
    "plan",
    "event",
    "file",
    "workflow",
    "template",
    "category",
    "project",
    "service",
    "device",
    "department",
    "queue",
    "state",
    "currency",
    "campaign",
    "course",
];

/// Returns what the keys from the root to a text say.
pub(super) fn hint(path: &[&str]) -> Option<Hint> {
    use PiiType::*;
    let key = plain(path.last()?);
    let of = |kind| Some(Hint::Type(kind));
    match key.as_str() {
        "email" | "emailaddress" | "mail" => of(Email),
        "phone" | "phonenumber" | "mobile" | "mobilenumber" | "mobilephone" | "tel"
        | "telephone" | "cell" | "cellphone" | "fax" | "faxnumber" | "msisdn" | "homephone"
        | "workphone" => of(Phone),
        "fullname" | "firstname" | "lastname" | "surname" | "givenname" | "familyname"
        | "middlename" | "customername" | "personname" | "contactname" | "cardholder"
        | "cardholdername" | "holdername" | "patientname" | "employeename" | "maidenname"
        | "nameoncard" | "recipientname" | "displayname" => of(Person),
        "name" => {
            let above = path.iter().rev().nth(1).map(|it| plain(it))?;
            match above.trim_end_matches('s') {
                it if PEOPLE.contains(&it) => of(Person),
                it if THINGS.contains(&it) => Some(Hint::Other),
                _ => None,
            }
        }
        "dob" | "dateofbirth" | "birthdate" | "birthday" | "birthdayon" | "born" => of(Dob),
        "age" => of(Age),
        "ssn" | "socialsecurity" | "socialsecuritynumber" => of(Ssn),
        "card" | "cardnumber" | "creditcard" | "creditcardnumber" | "pan" | "cc" | "ccnumber" => {
            of(CreditCard)
        }
        "address" | "streetaddress" | "street" | "addressline" | "addressline1"
        | "addressline2" | "address1" | "address2" | "homeaddress" | "shippingaddress"
        | "billingaddress" | "postaladdress" => of(Address),
        "zip" | "zipcode" | "postcode" | "postalcode" => of(Address),
        "city" | "town" | "birthplace" | "placeofbirth" => of(Location),
        "company" | "companyname" | "organization" | "organisation" | "employer" => {
            of(Organization)
        }
        "accountnumber" | "bankaccount" | "bankaccountnumber" => of(BankAccount),
        "passport" | "passportnumber" | "passportno" => of(Passport),
        "driverlicense"
        | "driverslicense"
        | "driverlicence"
        | "driverslicensenumber"
        | "licensenumber"
        | "driverlicensenumber" => of(DriverLicense),
        "taxid" | "taxnumber" | "tin" | "vatid" | "vatnumber" => of(TaxId),
        "nationalid" | "nationalidnumber" | "idcard" | "identitynumber" => of(NationalId),
        "medicalid"
        | "mrn"
        | "medicalrecord"
        | "medicalrecordnumber"
        | "patientid"
        | "healthinsurancenumber" => of(MedicalId),
        "username" | "login" | "loginname" | "userhandle" => of(Username),
        "password" | "passwd" | "pwd" | "passphrase" | "secret" | "apikey" | "clientsecret"
        | "privatekey" | "accesstoken" | "refreshtoken" | "authtoken" => of(Secret),
        "version" | "release" | "firmware" | "semver" => Some(Hint::Version),
        "product" | "productname" | "title" | "model" | "brand" | "category" | "status"
        | "state" | "template" | "plan" | "ean" | "sku" | "gtin" | "upc" | "isbn" | "counter"
        | "sequence" | "tracking" | "trackingnumber" | "order" | "orderid" | "ordernumber"
        | "barcode" | "checksum" | "timestamp" => Some(Hint::Other),
        _ => None,
    }
}

/// Returns a key without its way of joining words.
fn plain(key: &str) -> String {
    key.chars().filter(|it| it.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Returns a whole text as what its key says; none when only parts of it can be meant.
pub(super) fn whole(text: &str, hint: Hint, claims: &Claims) -> Option<Span> {
    use PiiType::*;
    let Hint::Type(kind) = hint else { return None };
    let trimmed = text.trim();
    let start = text.len() - text.trim_start().len();
    // What is redacted stays as it is.
    if trimmed.is_empty() || trimmed.starts_with("****") || claims.at(start).is_some() {
        return None;
    }
    let count = |is: fn(char) -> bool| trimmed.chars().filter(|it| is(*it)).count();
    let (digits, letters) = (count(|it| it.is_ascii_digit()), count(char::is_alphabetic));
    let words = trimmed.split_whitespace().count();
    let fits = match kind {
        Phone => (5..=16).contains(&digits) && letters <= 4 && words <= 6,
        Person => letters >= 2 && digits == 0 && words <= 6 && !trimmed.contains(['@', '/']),
        Dob => (4..=8).contains(&digits) && trimmed.len() <= 30,
        Age => digits <= 3 && trimmed.len() <= 3 && digits > 0 && letters == 0,
        Ssn => digits == 9 && letters == 0,
        Address => trimmed.len() <= 200 && letters + digits >= 3,
        Location | Organization => letters >= 2 && trimmed.len() <= 100,
        BankAccount | Passport | DriverLicense | TaxId | NationalId | MedicalId => {
            digits >= 4 && words <= 5 && trimmed.len() <= 40
        }
        Username => words == 1 && trimmed.len() <= 64 && !trimmed.contains('@'),
        Secret => words == 1 && trimmed.len() >= 4,
        _ => false,
    };
    let (end, detector) = (start + trimmed.len(), "key");
    fits.then_some(Span { start, end, kind: Some(kind), confidence: 0.9, detector })
}
