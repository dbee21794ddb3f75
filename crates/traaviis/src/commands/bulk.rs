//! `traaviis bulk`: one operation on every instance that a filter takes, as a job.

mod canary;

use std::{
    collections::BTreeMap,
    io::IsTerminal as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, Snapshot, Span, Text, record::Status};
use traaviis_runtime::Filter;

use canary::CanaryArgs;

use crate::{
    clock,
    commands::tag::TagChange,
    control::protocol::Ask,
    document,
    exit::{Exit, Failure},
    input,
    jobs::{Action, Job, Plan},
    operations::{self, Changer, DataArgs},
    output::{self, Output},
};

/// Between two lines about the progress.
const PROGRESS: Duration = Duration::from_secs(2);

/// Does one thing to every instance that a filter takes.
///
/// Who is meant is found once, at the beginning; `--dry-run` only names them. Instances are
/// done one after the other, those that refuse are told with the reason, and after too many of
/// them the job stops. A job that stopped, or whose process died, goes on with `bulk continue
/// JOB`.
/// The exit code is 1 when an instance refused or is left.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Cancels them: completed work is compensated as the workflow says.
    Cancel {
        /// End at once: no exit actions, no compensation.
        #[arg(long)]
        terminate: bool,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Stops them between two steps.
    Pause(JobArgs),
    /// Lets paused ones go on.
    Resume(JobArgs),
    /// Tries again what their incidents are about, or where they failed.
    Retry(JobArgs),
    /// Leaves out the effects that their incidents are about, or in which they failed.
    Skip {
        /// What the effects give, as JSON.
        #[arg(default_value = "null")]
        value: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Sends them an event.
    Send {
        /// Name of the event.
        event: String,
        /// Payload as JSON, or `-` to read it from standard input.
        payload: Option<String>,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Changes their data.
    Edit {
        /// JSON Patch as in `traaviis edit`: a JSON file, `-` for standard input, or JSON text.
        #[arg(value_name = "FILE|-|JSON")]
        patch: String,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Puts paused ones into other states.
    Move {
        /// Path of the state; one for each region of a parallel state.
        #[arg(required = true)]
        states: Vec<String>,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Changes their tags.
    Tag {
        #[command(flatten)]
        change: TagChange,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Takes them over to another version, those that are safe.
    Upgrade {
        /// Workflow file to go on with.
        file: PathBuf,
        #[command(flatten)]
        canary: CanaryArgs,
        #[command(flatten)]
        job: JobArgs,
    },
    /// Goes on with a job.
    Continue {
        /// Name of the job.
        job: String,
        /// Go on although those that went first do worse than the others.
        #[arg(long)]
        anyway: bool,
        #[command(flatten)]
        pace: PaceArgs,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, clap::Args)]
struct JobArgs {
    /// Those of this workflow.
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Those of this version of the workflow.
    #[arg(long, value_name = "VERSION")]
    of_version: Option<String>,
    /// Those that stand so: `running`, `paused`, `incident`, `failed`.
    #[arg(long)]
    status: Option<String>,
    /// Those in this state, as `traaviis ps` shows it.
    #[arg(long)]
    state: Option<String>,
    /// Those with this tag; may be repeated, then all must be there.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Those that were created longer ago than this, such as 30d.
    #[arg(long, value_name = "DURATION")]
    older_than: Option<Span>,
    /// Those with an open incident of this kind.
    #[arg(long, value_name = "KIND")]
    incident: Option<String>,
    /// Those with this error, in an incident or at their end.
    #[arg(long, value_name = "CODE")]
    error: Option<String>,
    /// All that the operation can be about.
    #[arg(long)]
    all: bool,
    /// Only name the instances.
    #[arg(long)]
    dry_run: bool,
    /// Why; kept in each history.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    pace: PaceArgs,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Args)]
struct PaceArgs {
    /// Instances in a second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Stop after so many instances that refuse.
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    max_failures: usize,
}

/// Runs the command.
pub fn run(command: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (action, args) = match &command.command {
        Command::Cancel { terminate, job } => (Action::Cancel { terminate: *terminate }, job),
        Command::Pause(job) => (Action::Pause, job),
        Command::Resume(job) => (Action::Resume, job),
        Command::Retry(job) => (Action::Retry, job),
        Command::Skip { value, job } => {
            needs_reason(job)?;
            (Action::Skip { value: input::json(value, "the value")? }, job)
        }
        Command::Send { event, payload, job } => {
            let data = input::payload(payload.as_deref())?;
            (Action::Send { event: event.clone(), data }, job)
        }
        Command::Edit { patch, job } => {
            needs_reason(job)?;
            (Action::Edit { patch: input::patch(patch)? }, job)
        }
        Command::Move { states, job } => {
            needs_reason(job)?;
            (Action::Move { to: states.iter().map(|it| it.as_str().into()).collect() }, job)
        }
        Command::Tag { change, job } => {
            let (add, remove) = change.read()?;
            (Action::Tag { add, remove }, job)
        }
        Command::Upgrade { file, job, .. } => {
            let machine = document::compile(&document::check(file)?)?;
            (Action::Upgrade { definition: machine.definition().document.clone() }, job)
        }
        Command::Continue { job, anyway, pace, data } => {
            let changer = Changer::open(data)?;
            let mut job = Job::find(data.dir(), job)?;
            if *anyway {
                job.pass()?;
            }
            return go(job, pace, &changer, data, output);
        }
    };
    let filter = args.filter(&action)?;
    if args.dry_run {
        let found = find(&action, &filter, &mut |ask| operations::ask(&args.data, ask))?;
        tell_plan(&action, &found, output);
        return Ok(Exit::Ok);
    }
    let changer = Changer::open(&args.data)?;
    let found = find(&action, &filter, &mut |ask| changer.ask(ask))?;
    if found.is_empty() {
        changer.close()?;
        tell_plan(&action, &found, output);
        return Ok(Exit::Ok);
    }
    let canary = match &command.command {
        Command::Upgrade { canary, .. } => {
            canary.of(found.len(), &filter, &mut |ask| changer.ask(ask))?
        }
        _ => None,
    };
    let plan = Plan {
        job: uuid::Uuid::now_v7().to_string().into(),
        action,
        reason: args.reason.as_deref().map(Into::into),
        filter,
        instances: found.iter().map(Found::id).collect::<Result<_, _>>()?,
        canary,
    };
    let job = Job::begin(args.data.dir(), plan)?;
    go(job, &args.pace, &changer, &args.data, output)
}

fn needs_reason(job: &JobArgs) -> Result<(), Failure> {
    match &job.reason {
        Some(_) => Ok(()),
        None => Err(Failure::usage("give a `--reason`; it is kept in the history")),
    }
}

impl JobArgs {
    fn filter(&self, action: &Action) -> Result<Filter, Failure> {
        let text = |it: &Option<String>| it.as_deref().map(Text::from);
        let status = match &self.status {
            Some(word) => Some(serde_json::from_value::<Status>(json!(word)).map_err(|_| {
                Failure::usage(format!(
                    "`{word}` is no status; write `running`, `paused`, `incident`, `completing` or \
                     `failed`"
                ))
            })?),
            None => None,
        };
        let revives = matches!(action, Action::Retry | Action::Skip { .. });
        let filter = Filter {
            workflow: text(&self.workflow),
            version: text(&self.of_version),
            tags: self.tags.iter().map(|it| it.as_str().into()).collect(),
            created_before: self.older_than.map(|it| clock::now().plus(Span(-it.0))),
            status,
            state: text(&self.state),
            incident: text(&self.incident),
            error: text(&self.error),
            ended: if revives { None } else { Some(false) },
            ..Filter::default()
        };
        let names_none = filter == Filter { ended: filter.ended, ..Filter::default() };
        if names_none && !self.all {
            return Err(Failure::usage(
                "name the instances by `--workflow`, `--of-version`, `--status`, `--state`, `--tag`, \
                 `--older-than`, `--incident` or `--error`, or all with `--all`",
            ));
        }
        Ok(filter)
    }
}

/// An instance that a job is about, as a list shows it.
struct Found(Json);

impl Found {
    fn id(&self) -> Result<InstanceId, Failure> {
        serde_json::from_value(self.0["id"].clone())
            .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))
    }

    fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// Says whether the operation can be about it at all.
    fn fits(&self, action: &Action) -> bool {
        match action {
            Action::Retry | Action::Skip { .. } => {
                matches!(self.text("status"), "failed" | "incident")
            }
            _ => true,
        }
    }
}

fn find(
    action: &Action,
    filter: &Filter,
    ask: &mut dyn FnMut(Ask) -> Result<Json, Failure>,
) -> Result<Vec<Found>, Failure> {
    let answer = ask(Ask::List { filter: filter.clone() })?;
    let items = answer["instances"].as_array().cloned().unwrap_or_default();
    Ok(items.into_iter().map(Found).filter(|it| it.fits(action)).collect())
}

fn tell_plan(action: &Action, found: &[Found], output: &Output) {
    if output.is_json() {
        output.json(&json!({
            "action": action.word(),
            "count": found.len(),
            "instances": found.iter().map(|it| &it.0).collect::<Vec<_>>(),
        }));
        return;
    }
    output.line(&format!("{} is about {}", action.word(), counted(found.len())));
    let mut groups: BTreeMap<String, usize> = BTreeMap::new();
    for it in found {
        let text = |key: &str| it.text(key);
        let place = format!(
            "{} {} {} in `{}`",
            text("workflow"),
            text("version"),
            text("status"),
            text("state")
        );
        *groups.entry(place).or_default() += 1;
    }
    for (place, count) in groups {
        output.line(&format!("  {count} {place}"));
    }
}

/// Does what is left of a job.
fn go(
    mut job: Job,
    pace: &PaceArgs,
    changer: &Changer,
    data: &DataArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let (mut failed, mut told) = (0, Instant::now());
    let total = job.plan.instances.len();
    let mut held = None;
    for id in job.left() {
        if let Some(canary) = &job.plan.canary
            && job.done.len() >= canary.count
            && !job.passed
        {
            held = canary::watch(&job, canary, &mut |ask| changer.ask(ask))?;
            match &held {
                Some(_) => break,
                None => job.pass()?,
            }
        }
        let begun = Instant::now();
        let error = perform(&job.plan, id, changer).err();
        // The process that runs the directory is gone: nothing can be said about the instance.
        if let Some(error) = &error
            && matches!(error.exit, Exit::Unreachable | Exit::Internal)
        {
            return Err(error.clone().into());
        }
        failed += usize::from(error.is_some());
        job.note(id, error)?;
        if failed >= pace.max_failures {
            break;
        }
        if told.elapsed() > PROGRESS && std::io::stderr().is_terminal() {
            output::warn(format_args!("{} of {total}, {failed} refused", job.done.len()));
            told = Instant::now();
        }
        if job.done.len() < total {
            let step = Duration::from_secs(1) / pace.rate;
            thread::sleep(step.saturating_sub(begun.elapsed()));
        }
    }
    changer.close()?;
    Ok(report(&job, held, data, output))
}

/// Does it to one instance.
fn perform(plan: &Plan, id: InstanceId, changer: &Changer) -> Result<(), Failure> {
    let places = match plan.action {
        Action::Skip { .. } => places(plan, id, changer)?,
        _ => Vec::new(),
    };
    for ask in plan.action.asks(&plan.job, plan.reason.as_ref(), id, places) {
        changer.ask(ask)?;
    }
    Ok(())
}

/// Returns the effects of an instance that are to be left out.
fn places(plan: &Plan, id: InstanceId, changer: &Changer) -> Result<Vec<Text>, Failure> {
    let answer = changer.ask(Ask::Show { id: id.to_string() })?;
    let snapshot: Snapshot = serde_json::from_value(answer["snapshot"].clone())
        .map_err(|error| Failure::new(Exit::Internal, "internal", error.to_string()))?;
    Ok(Action::places(&snapshot, plan.filter.incident.as_ref()))
}

fn report(job: &Job, held: Option<String>, data: &DataArgs, output: &Output) -> Exit {
    let refused: Vec<_> = job.done.iter().filter(|it| it.error.is_some()).collect();
    let (done, left) = (job.done.len() - refused.len(), job.left().len());
    let word = job.plan.action.word();
    let name = &job.plan.job;
    if output.is_json() {
        output.json(&json!({
            "job": name,
            "action": word,
            "count": job.plan.instances.len(),
            "done": done,
            "refused": refused.len(),
            "left": left,
            "held": held,
            "instances": job.done,
        }));
    } else {
        let total = job.plan.instances.len();
        let refused_count = refused.len();
        output.line(&format!(
            "{word}: {done} of {total} done, {refused_count} refused, {left} left (job {name})"
        ));
        let mut groups: BTreeMap<String, Vec<InstanceId>> = BTreeMap::new();
        for it in refused {
            let Some(error) = &it.error else { continue };
            // The same reason is told once, whoever it is about.
            let why = error.message.replace(&it.instance.to_string(), "ID");
            groups.entry(format!("{why} ({})", error.code)).or_default().push(it.instance);
        }
        for (why, ids) in groups {
            output.line(&format!("  {} refused, such as {}: {why}", ids.len(), ids[0]));
        }
        let dir = data.dir().display();
        if let Some(held) = held {
            output.line(&format!(
                "held: {held}; take one back with `traaviis upgrade --rollback ID --data {dir}`, or \
                 go on all the same with: traaviis bulk continue {name} --anyway --data {dir}"
            ));
        } else if left > 0 {
            output.line(&format!("go on with: traaviis bulk continue {name} --data {dir}"));
        }
    }
    if done == job.plan.instances.len() { Exit::Ok } else { Exit::Finding }
}

fn counted(count: usize) -> String {
    if count == 1 { "1 instance".into() } else { format!("{count} instances") }
}
