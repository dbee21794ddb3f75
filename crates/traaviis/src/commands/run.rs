//! `traaviis run`: runs one workflow file here, shows what happens, and can be interrupted.
//!
//! Stages: read and check the file; open the data directory (a temporary one without `--data`);
//! find the run that this call means, or begin it; print records as they become durable; end when
//! the instance ends, rests without hope, or the person has had enough.
//!
//! Invariant: a line is printed only after its record is durable, so what was seen is never lost.

mod ending;
mod events;
mod identity;
mod listener;
mod mocks;
pub mod notes;
mod showing;
pub mod triggers;
mod waiting;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use traaviis_engine::{Machine, Marks};
use traaviis_model::{InstanceId, Seq, Snapshot, Span, Text, Value, permission::Role};
use traaviis_ports::Connector;

use crate::{
    backups::Keeper,
    clock,
    connectors::ConnectorArgs,
    control::{protocol::By, server::Server},
    data::{Data, Life},
    document,
    exit::{Exit, Failure},
    histories::{Place, read_record},
    input,
    output::Output,
    scratch::Scratch,
    secrets,
    storage::StorageMode,
    trace::Trace,
    tree::TreeMode,
};
use events::{Event, declared, sent_before_text, take_away, unsent_text};
use identity::Found;
use notes::{Note, Notes};
use showing::Show;
use waiting::{Told, is_at_rest};

/// Records read at once.
const LINES_MAX: usize = 1_000;

/// Runs a workflow file and shows its trace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Workflow file, YAML or JSON.
    file: PathBuf,
    /// Start input: a JSON file, `-` for standard input, or JSON text; that of the trigger of type
    /// `manual` if there is none.
    #[arg(long, value_name = "FILE|-|JSON")]
    input: Option<String>,
    /// Event to send once the instance accepts it; may be repeated, sent in order. The same command
    /// given again does not send it again. Exit code 1 when the run ends before it took all.
    #[arg(long = "event", value_name = "NAME[=JSON]")]
    events: Vec<String>,
    /// Start the run and send the events as somebody else; the name stands in the history, and
    /// tasks of the run are for others to answer.
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Start the run and send the events with the rights of a role: owner, admin, developer,
    /// viewer.
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Keep the run in this directory, continue what is there, and serve its control socket.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Begin a new run even if one with this key or input has finished.
    #[arg(long)]
    new: bool,
    /// Id of the run: a UUID of version 7. The same command given again finds the run by it; one
    /// with another workflow or input is refused.
    #[arg(long, value_name = "ID", requires = "data", conflicts_with = "new", value_parser = chosen)]
    id: Option<InstanceId>,
    /// Keep waiting for events or decisions without a terminal.
    #[arg(long)]
    wait: bool,
    /// Tag of the run beside those of the workflow; may be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Label of the run beside those of the workflow; may be repeated.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// Begin no run now: start runs as the file's `triggers` say, until stopped.
    #[arg(long, requires = "data", conflicts_with_all = ["input", "events", "name", "role", "new",
        "id", "wait", "tags", "labels"])]
    triggers: bool,
    /// When to write the documents under `DIR/tree`, which people can read. Default: as the last
    /// run in `DIR` was told, or off.
    #[arg(long, value_name = "WHEN", requires = "data")]
    tree: Option<TreeMode>,
    /// How to keep `DIR`: packed with an index, or as JSON that people can read, where the tree is
    /// always written. Default: as the last run in `DIR` was told, `TRAAVIIS_STORAGE`, or embedded.
    #[arg(long, value_name = "MODE", requires = "data")]
    storage: Option<StorageMode>,
    /// Answer calls from this file instead of making them; it is written like `mocks` of a test.
    /// Nothing goes out: a call without an answer there fails.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["connectors", "triggers"])]
    mock: Option<PathBuf>,
    #[command(flatten)]
    connectors: ConnectorArgs,
    /// Stop after this time, such as 30s or 5m; the run can be continued.
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(&args.file)?;
    if checked.is_component {
        let message = format!(
            "`{}` is a component; name it in `components` of a workflow and run that",
            checked.file
        );
        return Err(Failure::finding("component_not_runnable", message).into());
    }
    match (checked.has_errors(), output.is_json()) {
        (true, true) => drop(output.json(&checked.to_json())),
        (true, false) => drop(output.text(&checked.report(output.style()))),
        // Whoever runs a file wants to see it run; all that is to be said about it says `validate`.
        (false, _) => checked.warnings_line().into_iter().for_each(|it| output.note(&it)),
    }
    let machine = Arc::new(document::compile(&checked)?);
    let start_input = match &args.input {
        Some(source) => input::value(source)?,
        None => match &machine.definition().manual {
            Some(manual) => manual.input.clone(),
            None => Value::empty_map(),
        },
    };
    let events = events::events(&args.events)?;
    events.iter().try_for_each(|it| declared(&machine, it))?;
    if args.mock.is_none() {
        let unbound = args.connectors.unbound(args.file.parent(), machine.written_functions())?;
        unbound_text(&unbound).into_iter().for_each(|it| output.note(&it));
    }
    let scratch = Scratch::unless(args.data.as_deref())?;
    let dir = args.data.as_deref().unwrap_or_else(|| scratch.dir());
    let connector: Arc<dyn Connector> = match &args.mock {
        Some(file) => Arc::new(mocks::Mocked::open(file, &machine)?),
        None => args.connectors.connector(args.file.parent(), secrets::sources(dir))?,
    };
    let storage = StorageMode::resolve(dir, args.storage)?;
    let tree = args.tree_in(storage)?.unwrap_or_else(|| ConnectorArgs::remembered(dir).tree());
    let life = if args.data.is_some() { Life::Kept } else { Life::Passing };
    let data = Data::open(dir, connector, Some(&args.file), (tree, storage), life)?;
    let data = Arc::new(data);
    if args.data.is_some() {
        args.connectors.remember(dir, &args.file, tree, storage)?;
    }
    let notes = Notes::listen(&data)?;
    let run = Run { args, output, machine, data: Arc::clone(&data), dir: dir.to_path_buf() };
    let server = run.serve();
    let keeper = args.data.as_deref().map(Keeper::start).transpose()?;
    let result = match args.triggers {
        true => run.keep_triggers(&notes),
        false => run.go(start_input, events, &notes),
    };
    drop(server);
    drop(keeper);
    // The checkpoint is only a faster next start; what was acknowledged is durable without it.
    let closed = data.close();
    drop(scratch);
    let exit = result?;
    closed?;
    Ok(exit)
}

/// Says which functions of the document a call will not find, before it is too late to bind them.
fn unbound_text(names: &[&Text]) -> Option<String> {
    let quoted: Vec<String> = names.iter().map(|it| format!("`{it}`")).collect();
    let (what, them) = match names.len() {
        0 => return None,
        1 => ("the function", "it"),
        _ => ("the functions", "one of them"),
    };
    let names = quoted.join(", ");
    Some(format!(
        "nobody binds {what} {names}: a call of {them} fails with unknown_function; \
         name an endpoint in `connectors.yaml` beside the workflow, or give `--connectors FILE`"
    ))
}

impl Args {
    /// Returns when the tree is to be written, if that was said; json-only leaves no choice.
    fn tree_in(&self, storage: StorageMode) -> Result<Option<TreeMode>, Failure> {
        match (storage, self.tree) {
            (StorageMode::JsonOnly, Some(TreeMode::Lazy | TreeMode::Off)) => Err(Failure::usage(
                "json-only storage writes the document tree with every step; leave `--tree` out, \
                 or keep the directory with `--storage embedded`",
            )),
            (_, tree) => Ok(tree),
        }
    }

    /// Returns the tags and labels that a run has beside those of its workflow.
    fn marks(&self) -> Marks {
        let text = |it: &String| Text::from(it.as_str());
        let labels = self.labels.iter().map(|(name, it)| (text(name), Value::String(text(it))));
        Marks { tags: self.tags.iter().map(text).collect(), labels: labels.collect() }
    }
}

/// Reads an id that the caller has chosen.
fn chosen(text: &str) -> Result<InstanceId, String> {
    InstanceId::chosen(text, clock::now())
}

/// Reads `NAME=VALUE`.
fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// One call of the command.
struct Run<'a> {
    args: &'a Args,
    output: &'a Output,
    machine: Arc<Machine>,
    data: Arc<Data>,
    dir: PathBuf,
}

impl Run<'_> {
    fn serve(&self) -> Option<Server> {
        self.args.data.as_ref()?;
        match Server::of_data(&self.dir, &self.data) {
            Ok(server) => Some(server),
            Err(error) => {
                let dir = self.dir.display();
                self.output.note(&format!(
                    "other commands cannot talk to this run: no socket in `{dir}`: {error}"
                ));
                None
            }
        }
    }

    fn go(&self, start: Value, mut events: Vec<Event>, notes: &Notes) -> anyhow::Result<Exit> {
        let begun = Instant::now();
        let found = match self.args.id {
            Some(id) => identity::find_named(&self.data, &self.machine, &start, id)?,
            None => identity::find(&self.data, &self.machine, &start)?,
        };
        let mut show = Show {
            output: self.output,
            definition: self.machine.definition(),
            event: Value::Null,
            trace: Trace::new(self.output.style()),
            place: Place::before(1),
        };
        let gives_marks = !self.args.tags.is_empty() || !self.args.labels.is_empty();
        let has_begun = match &found {
            Found::Open(_) => true,
            Found::Finished(_) | Found::Damaged(_) => !self.args.new,
            Found::Nothing => false,
        };
        if gives_marks && has_begun {
            self.output.note("the run has begun before; `traaviis tag` changes its tags");
        }
        let id = match found {
            Found::Open(snapshot) => {
                self.resume(&snapshot, &mut events, &mut show)?;
                snapshot.id
            }
            Found::Finished(snapshot) if !self.args.new => {
                return self.report(&snapshot, events, &mut show);
            }
            Found::Damaged(failure) if !self.args.new => return Err(failure.into()),
            _ => {
                let (id, marks) = (self.args.id, self.args.marks());
                self.somebody().start_marked(&self.machine, id, start, marks)?.id
            }
        };
        self.follow(id, events, notes, &mut show, begun)
    }

    /// Tells where an open run stands before it goes on. Events that an earlier call of the same
    /// command line sent are not sent again.
    fn resume(
        &self,
        snapshot: &Snapshot,
        events: &mut Vec<Event>,
        show: &mut Show,
    ) -> Result<(), Failure> {
        let mut sent = Vec::new();
        while show.place.seq <= snapshot.seq {
            let left = snapshot.seq + 1 - show.place.seq;
            let limit = LINES_MAX.min(usize::try_from(left).unwrap_or(LINES_MAX));
            let lines = self.data.histories.lines(snapshot.id, &mut show.place, limit)?;
            if lines.is_empty() {
                break;
            }
            for line in &lines {
                let record = read_record(line)?;
                sent.extend(take_away(events, &record));
                show.trace.skip(&record);
            }
        }
        let (id, seq, state) = (snapshot.id, show.place.seq - 1, snapshot.state());
        self.output.note(&format!("continuing {id} from record {seq} (state {state})"));
        if !sent.is_empty() {
            self.output.note(&sent_before_text(id, &sent));
        }
        Ok(())
    }

    /// Tells about a run that has ended before, without running it again.
    fn report(
        &self,
        snapshot: &Snapshot,
        mut left: Vec<Event>,
        show: &mut Show,
    ) -> anyhow::Result<Exit> {
        let id = snapshot.id;
        let again = if self.args.id.is_some() { "another `--id`" } else { "`--new`" };
        self.output.note(&format!("{id} has finished before; {again} runs it again"));
        loop {
            let lines = self.data.histories.lines(id, &mut show.place, LINES_MAX)?;
            for line in &lines {
                let record = read_record(line)?;
                take_away(&mut left, &record);
                if !self.output.is_json() {
                    show.record(&record, &[]);
                }
            }
            if !show.place.has_more {
                break;
            }
        }
        let unsent: Vec<&str> = left.iter().map(|it| &*it.name).collect();
        let took = snapshot.updated_at.since(snapshot.created_at);
        let took = Duration::from_micros(took.0.unsigned_abs());
        Ok(self.finish(snapshot, took, &unsent))
    }

    /// Sends the events and prints records as they come until there is a reason to stop.
    fn follow(
        &self,
        id: InstanceId,
        events: Vec<Event>,
        notes: &Notes,
        show: &mut Show,
        begun: Instant,
    ) -> anyhow::Result<Exit> {
        let mut events = events.into_iter();
        let result = self.until_over(id, &mut events, notes, show, begun);
        let unsent: Vec<&str> = events.as_slice().iter().map(|it| &*it.name).collect();
        if result.is_err() && !unsent.is_empty() {
            self.output.note(&unsent_text(&unsent));
        }
        result
    }

    fn until_over(
        &self,
        id: InstanceId,
        events: &mut std::vec::IntoIter<Event>,
        notes: &Notes,
        show: &mut Show,
        begun: Instant,
    ) -> anyhow::Result<Exit> {
        let mut told = Told::default();
        // An event that came too late, because the run ended meanwhile.
        let mut late = Vec::new();
        let sender = self.somebody();
        let limit = self.args.timeout.map(|it| Duration::from_micros(it.0.unsigned_abs()));
        loop {
            let Some(snapshot) = self.data.state(id)? else {
                return Err(
                    Failure::new(Exit::Internal, "internal", "the instance vanished").into()
                );
            };
            // A state is known only when its records are durable, so they are there to be shown.
            self.catch_up(id, show)?;
            if show.place.seq <= snapshot.seq {
                return Err(broken(&snapshot, show.place.seq).into());
            }
            if snapshot.status.is_finished() {
                let left = events.as_slice().iter().map(|it| &it.name);
                let unsent: Vec<&str> = late.iter().chain(left).map(|it: &String| &**it).collect();
                return Ok(self.finish(&snapshot, begun.elapsed(), &unsent));
            }
            let is_at_rest = is_at_rest(&snapshot);
            if let Some(event) = events.as_slice().first()
                && (is_at_rest || self.accepts(&snapshot, &event.name))
                && let Some(Event { name, data, id: event_id }) = events.next()
            {
                match sender.send_once(id, &name, data, Some(event_id)) {
                    Err(_) if self.has_ended(id)? => late.push(name),
                    sent => drop(sent?),
                }
                continue;
            }
            self.tell_wait(&snapshot, is_at_rest, &mut told)?;
            let rest = limit.map(|it| it.saturating_sub(begun.elapsed()));
            match notes.next(rest) {
                Note::Commit => (),
                Note::Stop => return Ok(self.interrupted(&snapshot)),
                Note::TimeIsUp => return Err(self.time_is_up(&snapshot).into()),
                Note::Failed(failure) => return Err(failure.into()),
            }
        }
    }

    /// Returns the directory, in which whom the command line names acts.
    fn somebody(&self) -> Data {
        self.data.acting_as(&By {
            name: self.args.name.clone(),
            role: self.args.role,
            ..By::default()
        })
    }

    fn has_ended(&self, id: InstanceId) -> Result<bool, Failure> {
        Ok(self.data.state(id)?.is_some_and(|it| it.status.is_finished()))
    }

    fn catch_up(&self, id: InstanceId, show: &mut Show) -> Result<(), Failure> {
        loop {
            let lines = self.data.histories.lines(id, &mut show.place, LINES_MAX)?;
            for line in &lines {
                show.record(&read_record(line)?, line);
            }
            if !show.place.has_more {
                return Ok(());
            }
        }
    }

    fn accepts(&self, snapshot: &Snapshot, event: &str) -> bool {
        self.machine.accepts_event(snapshot, event)
    }
}

fn broken(snapshot: &Snapshot, first: Seq) -> Failure {
    let (id, seq) = (snapshot.id, snapshot.seq);
    let message = format!(
        "records {first} to {seq} of instance `{id}` are missing from the log; `traaviis doctor` \
         names the place"
    );
    Failure::finding("history_broken", message)
}
