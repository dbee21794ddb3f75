//! Who looks after the platform first: named by whoever may read the files of the data directory.

use std::env;

use serde_json::{Value as Json, json};
use traaviis_platform::{Entropy, Error, Platform, admin::Promoted, audit::Via};

use crate::{demo, output::Output};

/// Holds the password of the account that `serve` makes.
const PASSWORD: &str = "TRAAVIIS_ADMIN_PASSWORD";

/// What became of it.
#[derive(Debug)]
pub enum First {
    /// Somebody looks after the platform already.
    There,
    /// Nobody does, and nobody was named.
    Nobody,
    /// An account that was there was raised.
    Raised,
    /// An account was made; with its password when nobody has chosen that.
    Made(String, Option<String>),
}

/// Makes sure that the one who is named looks after the platform.
pub fn first(platform: &Platform, email: Option<&str>) -> Result<First, Error> {
    let Some(email) = email else {
        return Ok(if platform.has_admin() { First::There } else { First::Nobody });
    };
    let chosen = env::var(PASSWORD).ok().filter(|it| !it.is_empty());
    let is_chosen = chosen.is_some();
    let password = match chosen {
        Some(password) => password,
        None => demo::password(&Entropy::system())?,
    };
    let via = Via { way: "command_line", ..Via::default() };
    Ok(match platform.promote_or_make(email, password, &via)? {
        Promoted::Already => First::There,
        Promoted::Raised => First::Raised,
        Promoted::Made(password) => {
            First::Made(email.into(), Some(password).filter(|_| !is_chosen))
        }
    })
}

impl First {
    /// Returns it for programs.
    pub fn as_json(&self) -> Json {
        match self {
            First::Made(email, password) => json!({ "email": email, "password": password }),
            First::There | First::Nobody | First::Raised => Json::Null,
        }
    }

    /// Tells a person what is news.
    pub fn tell(&self, output: &Output) {
        match self {
            First::There => {}
            First::Nobody => {
                output.line("nobody looks after the platform yet; see `traaviis user promote`");
            }
            First::Raised => {
                output.line("the account of --admin-email looks after the platform now");
            }
            First::Made(email, Some(password)) => {
                output.line(&format!(
                    "{email} looks after the platform, with the password {password}, told once"
                ));
            }
            First::Made(email, None) => {
                output.line(&format!("{email} looks after the platform"));
            }
        }
    }
}
