//! Policies as pure functions: who may do what ([`access`]), how much ([`plan`]), what it costs
//! ([`invoice`]) and what may be spent on models ([`spending`]), whom a task asks
//! ([`assignee`]), whether the first of an upgrade do well
//! ([`canary`]), personal data ([`pii`]), which features are on ([`flag`]), and what of the audit
//! stream and of numbers somebody should be told ([`watch`], [`rule`]).
//!
//! ```
//! use traaviis_model::{Value, privacy::PiiMode};
//! use traaviis_policy::pii::{Policy, redact};
//!
//! let value = Value::map([("note", Value::from("write to ann@example.com"))]);
//! let redacted = redact(&value, &Policy::all(PiiMode::Mask)).expect("nothing is blocked");
//! assert_eq!(redacted.value.to_json(), r#"{"note":"write to [EMAIL]"}"#);
//! ```

pub mod access;
pub mod assignee;
pub mod canary;
pub mod countries;
pub mod flag;
pub mod invoice;
pub mod pii;
pub mod plan;
pub mod rule;
pub mod spending;
pub mod watch;
