//! Words of the domain: ids, values, definitions, records, snapshots and their limits.
//!
//! Everything here is data. Nothing reads the clock, files, or the network, and nothing decides:
//! decisions live in `traaviis-engine`. Types that rest on disk ([`record`], [`snapshot`]) are
//! versioned and keep reading what older releases wrote.

pub mod budget;
pub mod builtin;
mod by_tenant;
pub mod call;
pub mod cron;
pub mod definition;
pub mod diagnostic;
pub mod document;
pub mod effect_error;
pub mod emission;
pub mod event_ids;
pub mod form;
pub mod grant;
pub mod ids;
mod json;
pub mod limits;
pub mod permission;
pub mod price;
pub mod privacy;
pub mod record;
pub mod secret;
pub mod snapshot;
pub mod tenant;
pub mod time;
pub mod times;
pub mod value;
pub mod zone;

pub use by_tenant::ByTenant;
pub use call::{Call, CallId, DeliveryClass};
pub use diagnostic::{Diagnostic, Severity};
pub use effect_error::EffectError;
pub use emission::Emission;
pub use event_ids::EventIds;
pub use ids::{
    ApiKeyId, DefinitionHash, FactorId, InstanceId, InvitationId, RoleId, Seq, SessionId, TenantId,
    Text, Texts, UserId,
};
pub use record::{Actor, Body, Header, Record};
pub use snapshot::Snapshot;
pub use tenant::TenantCtx;
pub use time::{Span, Timestamp};
pub use value::{Map, Value};
pub use zone::Zone;
