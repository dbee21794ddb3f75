//! What `traaviis dev` puts into an empty directory: an account, a tenant, and workflows of the
//! catalogue to start from.

use traaviis_model::permission::Permission;
use traaviis_platform::{
    Entropy, Error, Platform, accounts::Registration, audit::Via, engine::Engine,
    user::PlatformRole,
};
use traaviis_policy::access::{Action, Freshness};

use crate::library::catalogue;

/// Address of the account.
const EMAIL: &str = "demo@example.org";
/// Name of the tenant.
const ORGANISATION: &str = "Demo";
/// Workflows that need nothing but people and time.
const WORKFLOWS: &[&str] = &["ApprovalGate", "Review", "SmartDoor", "Timer"];
/// Letters of a password: none that look alike.
const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// The account that was made.
#[derive(Clone, Debug)]
pub struct Demo {
    /// Address.
    pub email: &'static str,
    /// Password; told once.
    pub password: String,
}

/// Makes a password that nobody has chosen.
pub fn password(entropy: &Entropy) -> Result<String, Error> {
    let bytes = entropy.bytes::<16>()?;
    let letter = |it: u8| char::from(LETTERS[usize::from(it) % LETTERS.len()]);
    Ok(bytes.into_iter().map(letter).collect())
}

/// Makes the account and what is in it, unless there are users already.
pub fn seed(
    platform: &Platform,
    engine: &dyn Engine,
    entropy: &Entropy,
) -> Result<Option<Demo>, Error> {
    if platform.has_users() {
        return Ok(None);
    }
    let password = password(entropy)?;
    let via = Via { way: "command_line", ..Via::default() };
    let by_operator = via.clone();
    let given = Registration {
        email: EMAIL.into(),
        password: password.clone(),
        name: Some("Demo User".into()),
        organisation: Some(ORGANISATION.into()),
    };
    let logged_in = platform.register(given, &via)?;
    let caller = platform.authenticate(&logged_in.access_token, via)?;
    let tenant = platform.resolve(&caller, "current")?;
    let action = Action::Needs(Permission::WorkflowDeploy);
    let entered = platform.enter(&caller, tenant, action, Freshness::Any)?;
    for (file, text) in catalogue::FILES {
        let name = file.strip_prefix("catalogue/workflows/");
        let name = name.and_then(|it| it.strip_suffix(".yaml"));
        let Some(name) = name.filter(|it| WORKFLOWS.contains(it)) else { continue };
        platform.create_workflow(&caller, &entered, engine, text)?;
        platform.publish(&caller, &entered, engine, name, Some("from the catalogue".into()))?;
    }
    platform.log_out(&caller)?;
    // Whoever tries things out looks after the platform, too.
    platform.promote(EMAIL, PlatformRole::PlatformAdmin, &by_operator)?;
    Ok(Some(Demo { email: EMAIL, password }))
}
