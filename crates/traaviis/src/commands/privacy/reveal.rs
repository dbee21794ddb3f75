//! `traaviis privacy reveal`: tokens turned back into what they stand for.

use std::io::Read as _;

use serde_json::{Map as JsonMap, json};
use traaviis_model::{limits::PAYLOAD_BYTES_MAX, permission::Permission};
use traaviis_policy::pii::reveal;
use traaviis_store::keys::Reveal;

use crate::{
    clock,
    exit::{Exit, Failure},
    operations::DataArgs,
    output::{self, Output},
    secrets,
};

/// Turns the tokens in a text back into what they stand for, with the key of the tenant.
///
/// Who did it, when and why is noted in the data directory before anything is shown.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Text with tokens such as `[EMAIL:9b2e...]`; standard input when there is none.
    text: Option<String>,
    /// Why; kept in the data directory.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    if args.reason.trim().is_empty() {
        return Err(Failure::usage("give a reason; it is kept in the data directory").into());
    }
    let ctx = args.data.ctx();
    if !ctx.may(Permission::TenantSettings) {
        let message = format!(
            "`{}` may not turn tokens back: the role has no `{}`",
            ctx.actor().id,
            Permission::TenantSettings.as_str()
        );
        return Err(Failure::new(Exit::Denied, "permission_denied", message).into());
    }
    let text = match &args.text {
        Some(text) => text.clone(),
        None => given()?,
    };
    let keys = secrets::redaction(args.data.dir());
    let key = keys.known(&ctx)?.ok_or_else(|| {
        let message = format!(
            "`{}` holds no key of the tenant, so it has made no token",
            args.data.dir().display()
        );
        Failure::new(Exit::Unreachable, "redaction_key_missing", message)
    })?;
    let revealed = reveal(&text, &key);
    let types = revealed.counts.iter().map(|(kind, count)| (kind.as_str().into(), json!(count)));
    let types: JsonMap<_, _> = types.collect();
    // Nothing is shown before it is noted, and a look that showed nothing is none.
    if !types.is_empty() {
        let reveal = Reveal { reason: &args.reason, types: json!(types), text: &text };
        keys.note(&ctx, &reveal, clock::now())?;
    }
    let exit = match types.is_empty() || revealed.strange > 0 {
        true => Exit::Finding,
        false => Exit::Ok,
    };
    if output.is_json() {
        output.json(&json!({
            "text": revealed.text,
            "types": types,
            "strange": revealed.strange,
        }));
        return Ok(exit);
    }
    output.line(revealed.text.trim_end_matches('\n'));
    match revealed.strange {
        0 if exit == Exit::Finding => output::warn(format_args!("note: the text holds no token")),
        0 => {}
        count => output::warn(format_args!(
            "warning: {count} tokens were not made with the key of this directory, or were changed"
        )),
    }
    Ok(exit)
}

fn given() -> Result<String, Failure> {
    let mut text = String::new();
    let most = PAYLOAD_BYTES_MAX as u64 + 1;
    let read = std::io::stdin().lock().take(most).read_to_string(&mut text);
    read.map_err(|error| {
        Failure::finding("file_unreadable", format!("cannot read standard input: {error}"))
    })?;
    match text.len() > PAYLOAD_BYTES_MAX {
        true => {
            let message = format!("the text has more than {PAYLOAD_BYTES_MAX} bytes; give less");
            Err(Failure::finding("payload_too_large", message))
        }
        false => Ok(text),
    }
}
