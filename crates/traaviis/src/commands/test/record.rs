//! `traaviis test --record`: a finished instance becomes a test of the file.
//!
//! The file is changed last, and only when the test that it gets passes: what was recorded is
//! never the first thing that fails.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::{Value as Json, json};
use traaviis_design::test_case;
use traaviis_engine::{
    Machine,
    testing::{self, RecordError, Recorded},
};
use traaviis_model::{Record, TenantCtx, document::Format};

use crate::{
    connectors::ConnectorArgs,
    disk, document,
    exit::{Exit, Failure},
    histories::read_record,
    library::Library,
    operations::{Asker, DataArgs},
    output::Output,
    remote::asking::{TenantArgs, quoted},
};

/// Which instance is recorded, and where it is.
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// Record this instance, which has ended, as a test at the end of the file: its input, what it
    /// was sent, and mocks with what its calls answered. The file is changed only if the test
    /// passes.
    #[arg(long, value_name = "ID", conflicts_with_all = ["filter", "min_coverage"])]
    pub record: Option<String>,
    /// Name of the recorded test. Default: `recorded` and the id.
    #[arg(long, value_name = "NAME", requires = "record")]
    name: Option<String>,
    /// Data directory of the recorded instance; without it, the server that `traaviis login` was
    /// for.
    #[arg(long, value_name = "DIR", requires = "record")]
    data: Option<PathBuf>,
    #[command(flatten)]
    tenant: TenantArgs,
}

/// Records an instance into the file.
pub fn run(args: &RecordArgs, id: &str, file: &Path, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(file)?;
    if checked.has_errors() {
        checked.print(output);
    }
    let machine = document::compile(&checked)?;
    let records = args.history(id)?;
    let id = records.first().map(|it| it.header.instance_id.to_string()).unwrap_or_default();
    let name = args.name.clone().unwrap_or_else(|| format!("recorded {id}"));
    if machine.definition().tests.iter().any(|it| *it.name == *name) {
        let message = format!("`{}` has a test `{name}`; give another `--name`", file.display());
        return Err(Failure::finding("already_exists", message).into());
    }
    let Recorded { test, left_out } = recorded(&machine, &name, &records, file)?;
    write(file, &test_case::tree(&test))?;
    let steps = test.steps.len();
    let mocks = test.mocks.len();
    if output.is_json() {
        output.json(&json!({
            "file": file.display().to_string(),
            "test": name,
            "instance": id,
            "steps": steps,
            "mocks": mocks,
            "left_out": left_out,
        }));
        return Ok(Exit::Ok);
    }
    output.line(&format!(
        "{}: test `{name}` passes and stands there now, with {} and {}",
        file.display(),
        counted(steps, "step"),
        counted(mocks, "mock")
    ));
    if !left_out.is_empty() {
        output
            .note(&format!("not expected, because it differs each time: {}", left_out.join(", ")));
    }
    Ok(Exit::Ok)
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

impl RecordArgs {
    /// Reads every record of the instance.
    fn history(&self, id: &str) -> Result<Vec<Record>, Failure> {
        if let Some(dir) = &self.data {
            let data = DataArgs::of(dir, self.tenant.named_id()?);
            let lines = Asker::open(&data)?.history(id)?;
            return lines.iter().map(|it| read_record(it.as_bytes())).collect();
        }
        let tenant = self.tenant.open()?;
        let path = tenant.path(&format!("/instances/{}/events", quoted(id)));
        let items: Vec<Json> = tenant.session().all(&path)?;
        items.iter().map(|it| read_record(it.to_string().as_bytes())).collect()
    }
}

fn recorded(
    machine: &Machine,
    name: &str,
    records: &[Record],
    file: &Path,
) -> Result<Recorded, Failure> {
    let ctx = TenantCtx::local_operator();
    // Judging makes no call, so nothing is revealed.
    let connector = ConnectorArgs::default().connector(file.parent(), Arc::new(|_: &str| None))?;
    let judge = TenantCtx::local_operator();
    let class = move |kind: &str, input: &_| connector.delivery_class(&judge, kind, input);
    testing::record(machine, &ctx, name, records, &class).map_err(|error| {
        let failure = Failure::finding("not_recordable", error.to_string());
        match error {
            RecordError::Other { .. } => failure.with_hint(
                "record with the version of the file that it ran with; `traaviis replay ID \
                 --against FILE` says where another one goes its own way",
            ),
            _ => failure,
        }
    })
}

/// Writes the test into the file, after a look that the file then reads as it must.
fn write(file: &Path, test: &traaviis_design::tree::Tree) -> Result<(), Failure> {
    let (text, format) = (document::read_text(file)?, Format::of_path(file));
    let refused = |why: String| {
        let message = format!("`{}` was not changed: {why}", file.display());
        Failure::finding("not_recordable", message)
    };
    let text =
        test_case::append(&text, format, test).map_err(|error| refused(error.to_string()))?;
    let name = file.display().to_string();
    let checked = document::check_text(name, &text, format, &Library::beside(file));
    if checked.has_errors() {
        let first = checked.diagnostics.first().map(ToString::to_string).unwrap_or_default();
        return Err(refused(first));
    }
    disk::replace(file, text.as_bytes()).map_err(|error| {
        let message = format!("cannot write `{}`: {error}", file.display());
        Failure::new(Exit::Denied, "file_unwritable", message)
    })
}
