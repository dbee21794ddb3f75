//! What is said on the control socket: questions as [`Ask`], with who asks.

use serde::{Deserialize, Serialize};
use traaviis_model::{TenantCtx, TenantId, limits::STEP_BYTES_MAX, permission::Role};
pub use traaviis_platform::ask::{
    Ask, Decision, EffectFilter, ForkAsk, HISTORY_LIMIT, LIST_DEFAULT, LIST_MAX, ListFilter, Wait,
};

use crate::exit::{Exit, Failure};

/// Version of the protocol; both sides must speak the same.
pub const VERSION: u32 = 3;
/// Bytes of one line: what a step may write, or a part of a history, and escapes.
pub const LINE_BYTES_MAX: u64 = STEP_BYTES_MAX as u64;

/// One question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Version of the protocol.
    pub v: u32,
    /// Who asks; the operator when it does not say.
    #[serde(default)]
    pub by: By,
    /// The question itself.
    #[serde(flatten)]
    pub ask: Ask,
}

/// Who asks. Whoever can reach the socket or the files is the operator, and vouches for the name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct By {
    /// Name for the history; the operator's own when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Role; `owner` when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Tenant of a server, in which the operator may look and changes nothing; the only one of a
    /// directory without accounts when it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
}

impl By {
    /// Returns who that is in the tenant that is meant.
    pub fn ctx(&self) -> TenantCtx {
        if let Some(tenant) = self.tenant {
            return TenantCtx::operator_of(tenant);
        }
        if self.name.is_none() && self.role.is_none() {
            return TenantCtx::local_operator();
        }
        let operator = TenantCtx::local_operator();
        let name = self.name.as_deref().unwrap_or(&operator.actor().id);
        TenantCtx::local_member(name.into(), self.role.unwrap_or(Role::Owner))
    }

    /// Refuses a change in a tenant of a server: what its members may do, and its audit trail, are
    /// kept by the server.
    pub fn refuse_change(&self, ask: &Ask) -> Result<(), Failure> {
        match self.tenant {
            Some(_) if ask.is_change() => {
                let message = "a tenant of a server is changed by its members, over the API";
                Err(Failure::new(Exit::Denied, "permission_denied", message))
            }
            _ => Ok(()),
        }
    }
}

/// One answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Version of the protocol.
    pub v: u32,
    /// What was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ok: Option<serde_json::Value>,
    /// Or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Stable word.
    pub code: String,
    /// For the person.
    pub message: String,
    /// Facts for programs.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
    /// Refused rather than wrong.
    #[serde(default)]
    pub denied: bool,
}

impl Reply {
    /// Wraps a result.
    pub fn of(result: Result<serde_json::Value, Failure>) -> Reply {
        match result {
            Ok(value) => Reply { v: VERSION, ok: Some(value), error: None },
            Err(failure) => Reply {
                v: VERSION,
                ok: None,
                error: Some(Problem {
                    denied: failure.exit == Exit::Denied,
                    code: failure.code,
                    message: failure.message,
                    details: failure.details,
                }),
            },
        }
    }

    /// Unwraps the result.
    pub fn into_result(self) -> Result<serde_json::Value, Failure> {
        match self.error {
            Some(problem) => {
                let exit = if problem.denied { Exit::Denied } else { Exit::Finding };
                let failure = Failure::new(exit, &problem.code, problem.message);
                Err(failure.with_details(problem.details))
            }
            None => Ok(self.ok.unwrap_or_default()),
        }
    }
}
