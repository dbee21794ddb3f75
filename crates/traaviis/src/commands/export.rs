//! `traaviis export`: histories as JSON lines that stand for themselves.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufWriter, Write as _},
    path::PathBuf,
};

use serde_json::{Value as Json, json};
use traaviis_model::{Actor, Body, DefinitionHash, Header, Record, Value, record::RECORD_VERSION};
use traaviis_runtime::{Filter, owner::definition_stream};

use crate::{
    control::protocol::{Ask, LIST_MAX, ListFilter},
    exit::{Exit, Failure},
    histories::read_record,
    operations::{Asker, ReadArgs},
    output::{self, Output},
};

/// Writes the histories of instances as JSON lines, with the definitions that decided them.
///
/// `records` are the lines of the log: `traaviis replay FILE` decides them again, anywhere.
/// `cloudevents` are the same records as CloudEvents 1.0, for other systems.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instances: their ids or unique beginnings or ends of them.
    #[arg(required_unless_present_any = ["workflow", "all"])]
    ids: Vec<String>,
    /// Every instance of this workflow.
    #[arg(long, value_name = "NAME", conflicts_with = "ids")]
    workflow: Option<String>,
    /// Every instance of the directory.
    #[arg(long, conflicts_with_all = ["ids", "workflow"])]
    all: bool,
    /// Form of a line.
    #[arg(long, value_enum, default_value = "records")]
    format: Form,
    /// File to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    data: ReadArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Records,
    Cloudevents,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut asker = Asker::open(&args.data)?;
    let ids = match args.ids.is_empty() {
        false => args.ids.clone(),
        true => find(&mut asker, args.workflow.as_deref())?,
    };
    let mut sink = Sink::new(args.out.as_deref(), *output)?;
    let mut known: BTreeSet<DefinitionHash> = BTreeSet::new();
    let mut count = 0;
    for id in &ids {
        for line in asker.history(id)? {
            let record = read_record(line.as_bytes())?;
            let hash = record.header.definition_hash;
            if known.insert(hash) {
                let answer = asker.ask(Ask::Definition { hash })?;
                let body = Value::from(&answer["definition"]);
                sink.record(&definition(&record.header, body), args.format)?;
            }
            sink.record(&record, args.format)?;
            count += 1;
        }
    }
    sink.close()?;
    if let Some(file) = &args.out {
        let (instances, file) = (ids.len(), file.display());
        match output.is_json() {
            true => {
                output.json(&json!({ "instances": instances, "records": count }));
            }
            false => {
                output.line(&format!("{count} records of {instances} instances in `{file}`"));
            }
        }
    }
    Ok(Exit::Ok)
}

/// Returns the ids of all instances, or of those of a workflow.
pub fn find(asker: &mut Asker, workflow: Option<&str>) -> Result<Vec<String>, Failure> {
    let filter = Filter { workflow: workflow.map(Into::into), ..Filter::default() };
    let answer = asker.ask(Ask::List { filter })?;
    let items = answer["instances"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.len() >= traaviis_runtime::limits::LIST_MAX {
        output::warn(format_args!(
            "warning: these are the newest {} instances; name others by id",
            items.len()
        ));
    }
    let id = |it: &Json| it["id"].as_str().map(str::to_string);
    let mut ids: Vec<String> = items.iter().filter_map(id).collect();
    let mut filter = ListFilter { limit: LIST_MAX, ..ListFilter::default() };
    filter.workflow = workflow.map(str::to_string);
    loop {
        let ask = Ask::Ps { all: true, archived: true, filter: filter.clone() };
        let answer = asker.ask(ask)?;
        ids.extend(answer["instances"].as_array().into_iter().flatten().filter_map(id));
        filter.cursor = answer["next"].as_str().and_then(|it| it.parse().ok());
        if filter.cursor.is_none() {
            return Ok(ids);
        }
    }
}

/// Returns the record that holds a definition.
fn definition(first: &Header, body: Value) -> Record {
    let hash = first.definition_hash;
    Record {
        header: Header {
            tenant_id: first.tenant_id,
            instance_id: definition_stream(&hash),
            seq: 1,
            v: RECORD_VERSION,
            at: first.at,
            step: 1,
            definition_hash: hash,
            actor: Actor::engine(),
            causation_id: None,
            correlation_id: None,
            origin: None,
        },
        body: Body::DocumentPut {
            document: "definition".into(),
            id: hash.to_string().into(),
            body,
        },
    }
}

/// Where lines go.
enum Sink {
    File(BufWriter<File>, PathBuf),
    Output(Output),
}

impl Sink {
    fn new(file: Option<&std::path::Path>, output: Output) -> Result<Sink, Failure> {
        let Some(path) = file else { return Ok(Sink::Output(output)) };
        match File::create_new(path) {
            Ok(file) => Ok(Sink::File(BufWriter::new(file), path.to_path_buf())),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let message = format!("`{}` exists; name another file", path.display());
                Err(Failure::finding("file_exists", message))
            }
            Err(error) => Err(unwritable(path, &error)),
        }
    }

    fn record(&mut self, record: &Record, form: Form) -> Result<(), Failure> {
        let mut line = Vec::new();
        record.write_line(&mut line);
        if form == Form::Cloudevents {
            line = format!("{}\n", cloud_event(record, &line)?).into_bytes();
        }
        match self {
            Sink::Output(output) => {
                output.bytes(&line);
                Ok(())
            }
            Sink::File(file, path) => file.write_all(&line).map_err(|it| unwritable(path, &it)),
        }
    }

    fn close(self) -> Result<(), Failure> {
        let Sink::File(file, path) = self else { return Ok(()) };
        let file = file.into_inner().map_err(|it| unwritable(&path, it.error()))?;
        file.sync_all().map_err(|it| unwritable(&path, &it))
    }
}

fn unwritable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", path.display());
    Failure::new(Exit::Denied, "file_unwritable", message)
}

fn cloud_event(record: &Record, line: &[u8]) -> Result<Json, Failure> {
    let data: Json = serde_json::from_slice(line)
        .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))?;
    let header = &record.header;
    let id = header.instance_id;
    Ok(json!({
        "specversion": "1.0",
        "id": format!("{id}:{}", header.seq),
        "source": format!("/tenants/{}/instances/{id}", header.tenant_id),
        "subject": id,
        "type": format!("traaviis.{}", record.body.kind()),
        "time": header.at,
        "datacontenttype": "application/json",
        "data": data,
    }))
}
