//! Use cases of many organisations that share one installation: who there is, who may do what, and
//! what was done.
//!
//! ```text
//! token -> Caller -> (tenant, action) -> Entered -> use case -> one change of a ledger
//! ```
//!
//! Reading order: [`ledger`] (how documents change), [`audit`] (what is noted beside it), [`user`],
//! [`session`] and [`tenant`] (what there is), [`platform`] (what use cases share), [`caller`] (who
//! acts), then the use cases: [`accounts`], [`confirm`], [`mfa`], [`passkeys`], [`oidc`],
//! [`tenants`], [`rules`], [`members`], [`invitations`], [`service_accounts`], [`api_keys`],
//! [`transfers`], [`departures`] (who and what goes for ever), [`admin`], [`operating`] and
//! [`flags`] (looking after the platform), [`usage`], [`storage`], [`budgets`], [`invoices`],
//! [`repeated`] (requests that come twice), [`workflows`], [`jobs`], [`schedules`], [`webhooks`],
//! [`hooks`], [`deleted`], [`trail`], [`alerts`], [`alert_rules`], [`secrets`], [`privacy`],
//! [`evidence`] (for who reviews it all). What runs instances stands behind [`engine`], and is
//! asked in the words of [`ask`].
//!
//! Invariants: no use case of a tenant runs without an [`caller::Entered`], which only
//! [`platform::Platform::enter`] makes; a change and its audit entry are committed together;
//! passwords, keys and addresses rest sealed or as hashes.

pub mod accounts;
mod acts;
pub mod admin;
pub mod alert_rules;
pub mod alerts;
pub mod api_keys;
pub mod ask;
pub mod attempts;
pub mod audit;
mod auditing;
pub mod budgets;
pub mod caller;
pub mod checkpoints;
pub mod confirm;
pub mod deleted;
pub mod departures;
pub mod egress;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod evidence;
pub mod exchange;
pub mod expected;
pub mod factor;
pub mod flags;
pub mod hooks;
pub mod importing;
pub mod invitations;
pub mod invoices;
pub mod jobs;
pub mod key_use;
pub mod ledger;
mod letters;
pub mod mail;
pub mod members;
pub mod meters;
pub mod mfa;
pub mod moving;
pub mod named_effects;
pub mod oidc;
pub mod one_time;
pub mod operating;
pub mod passkeys;
pub mod password;
mod pending;
pub mod platform;
pub mod privacy;
pub mod proof;
mod refusals;
pub mod repeated;
pub mod rules;
pub mod schedules;
pub mod secrets;
pub mod service_accounts;
pub mod session;
mod standing;
pub mod standing_alerts;
pub mod storage;
mod subjects;
mod takers;
pub mod tenant;
pub mod tenants;
pub mod token;
pub mod trail;
pub mod trail_file;
pub mod transfers;
pub mod usage;
pub mod user;
pub mod webauthn;
pub mod webhooks;
pub mod workflows;

pub use caller::{Caller, Entered};
pub use entropy::Entropy;
pub use error::Error;
pub use flags::Flags;
pub use platform::{Platform, Settings, Ways};
