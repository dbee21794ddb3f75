//! Handlers of confirmed addresses, second factors and passkeys.

use traaviis_api::types::factors::{
    ConfirmFactorRequest, FactorAnswer, FactorBegun, FactorRequest, FactorsAnswer, MailAnswer,
    MailRequest, PasskeyAsked, PasskeyRequest, RecoveryCodes, ResetRequest, VerifyRequest,
};
use traaviis_platform::{Error, mfa::FactorShown, one_time::Purpose};

use super::{Answer, Call, browser};

pub(super) fn verify(call: &Call<'_>) -> Result<Answer, Error> {
    let VerifyRequest { token } = call.request.json()?;
    call.platform().verify_email(&token, &call.via)?;
    call.done()
}

pub(super) fn ask_by_mail(call: &Call<'_>, purpose: Purpose) -> Result<Answer, Error> {
    let MailRequest { email } = call.request.json()?;
    call.platform().ask_by_mail(purpose, &email, &call.via)?;
    call.tell(&MailAnswer { status: "accepted".into() })
}

pub(super) fn reset(call: &Call<'_>) -> Result<Answer, Error> {
    let ResetRequest { token, password } = call.request.json()?;
    call.platform().reset_password(&token, &password, &call.via)?;
    call.done()
}

pub(super) fn ask_passkey(call: &Call<'_>) -> Result<Answer, Error> {
    call.tell(&PasskeyAsked { public_key: call.platform().ask_for_passkey()? })
}

pub(super) fn login_by_passkey(call: &Call<'_>) -> Result<Answer, Error> {
    let PasskeyRequest { credential, tenant } = call.request.json()?;
    let platform = call.platform();
    let logged_in = platform.log_in_by_passkey(&credential, tenant.as_deref(), &call.via)?;
    browser::told(call, logged_in)
}

pub(super) fn list(call: &Call<'_>) -> Result<Answer, Error> {
    let (factors, recovery_codes_left) = call.platform().factors(call.caller()?)?;
    let items = factors.into_iter().map(shown).collect();
    call.tell(&FactorsAnswer { items, recovery_codes_left })
}

pub(super) fn add(call: &Call<'_>) -> Result<Answer, Error> {
    let FactorRequest { kind, name } = call.request.json()?;
    let (platform, caller) = (call.platform(), call.caller()?);
    let begun = match kind.as_str() {
        "totp" => {
            let begun = platform.begin_app(caller, name.as_deref())?;
            let (secret, uri) = (Some(begun.secret), Some(begun.address));
            FactorBegun { id: begun.id.0, kind, secret, uri, public_key: None }
        }
        "webauthn" => {
            let (id, options) = platform.begin_passkey(caller, name.as_deref())?;
            let public_key = Some(options);
            FactorBegun { id: id.0, kind, secret: None, uri: None, public_key }
        }
        _ => return Err(Error::invalid("/kind", "this is `totp` or `webauthn`")),
    };
    call.tell(&begun)
}

pub(super) fn confirm(call: &Call<'_>) -> Result<Answer, Error> {
    let ConfirmFactorRequest { code, credential } = call.request.json()?;
    let (platform, caller) = (call.platform(), call.caller()?);
    let id = call.request.id("id", "factor that was begun")?;
    let factor = match (code, credential) {
        (Some(code), None) => platform.confirm_app(caller, id, &code)?,
        (None, Some(credential)) => platform.confirm_passkey(caller, id, &credential)?,
        _ => return Err(Error::invalid("", "give `code` or `credential`")),
    };
    call.tell(&shown(factor))
}

pub(super) fn remove(call: &Call<'_>) -> Result<Answer, Error> {
    call.platform().remove_factor(call.caller()?, call.request.id("id", "factor")?)?;
    call.done()
}

pub(super) fn make_recovery_codes(call: &Call<'_>) -> Result<Answer, Error> {
    let codes = call.platform().make_recovery_codes(call.caller()?)?;
    call.tell(&RecoveryCodes { codes })
}

fn shown(it: FactorShown) -> FactorAnswer {
    FactorAnswer {
        id: it.id.0,
        kind: it.kind.into(),
        name: it.name,
        added_at: it.added_at.to_string(),
        used_at: it.used_at.to_string(),
    }
}
