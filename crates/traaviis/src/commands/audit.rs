//! `traaviis audit`: the audit entries of one instance; the audit trails of tenants, taken out and
//! checked.

mod export;
mod verify;

pub use export::{only_tenant, unsigned};

use traaviis_model::{Record, Snapshot, TenantId, document, tenant::PLATFORM};

use crate::{
    control::protocol::Ask,
    exit::{Exit, Failure},
    histories::read_record,
    operations::{Asker, DataArgs},
    output::Output,
    plugins::audit,
};

/// Prints the audit entries of an instance, one JSON object a line, each with the hash of the one
/// before; or takes out and checks the audit trail of a tenant.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Instance: its id or a unique beginning or end of it.
    #[arg(required = true)]
    id: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Export(export::Args),
    Verify(verify::Args),
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    match &args.command {
        Some(Command::Export(args)) => export::run(args, output),
        Some(Command::Verify(args)) => verify::run(args, output),
        None => of_instance(args, output),
    }
}

/// Reads whose trail is meant.
fn tenant_of(text: &str) -> Result<TenantId, String> {
    match text {
        "platform" => Ok(PLATFORM),
        id => id.parse().map_err(|_| "this is the id of a tenant, or `platform`".into()),
    }
}

/// Returns whose trail it is, for a sentence.
fn of_tenant(tenant: TenantId) -> String {
    match tenant {
        PLATFORM => " of the platform".into(),
        tenant => format!(" of tenant {tenant}"),
    }
}

fn refused(error: traaviis_platform::Error) -> Failure {
    Failure::finding(&error.code, error.message)
}

fn of_instance(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let id = args.id.clone().unwrap_or_default();
    let mut asker = Asker::open(&args.data)?;
    let answer = asker.ask(Ask::Show { id })?;
    let snapshot: Snapshot = serde_json::from_value(answer["snapshot"].clone())?;
    let answer = asker.ask(Ask::Definition { hash: snapshot.definition_hash })?;
    let body = serde_json::from_value(answer["definition"].clone())?;
    let Some(definition) = document::read_value(&body).definition else {
        let message = format!("the definition of instance `{}` cannot be read", snapshot.id);
        return Err(Failure::finding("definition_invalid", message).into());
    };
    let history = asker.history(&snapshot.id.to_string())?;
    let records: Vec<Record> =
        history.iter().map(|it| read_record(it.as_bytes())).collect::<Result<_, Failure>>()?;
    let Some(entries) = audit::entries(&definition, &records) else {
        let message = format!(
            "workflow `{}` {} asks for no audit; add `plugins: [{{use: audit}}]`",
            definition.name, definition.version
        );
        return Err(Failure::finding("not_audited", message).into());
    };
    for entry in &entries {
        if !output.line(&entry.to_string()) {
            break;
        }
    }
    Ok(Exit::Ok)
}
