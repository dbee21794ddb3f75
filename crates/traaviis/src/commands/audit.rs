//! `traaviis audit`: the audit entries of one instance.

use traaviis_model::{Record, Snapshot, document};

use crate::{
    control::protocol::Ask,
    exit::{Exit, Failure},
    histories::read_record,
    operations::{Asker, DataArgs},
    output::Output,
    plugins::audit,
};

/// Prints the audit entries of an instance, one JSON object a line, each with the hash of the one
/// before.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asker = Asker::open(&args.data)?;
    let answer = asker.ask(Ask::Show { id: args.id.clone() })?;
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
