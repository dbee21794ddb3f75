//! `traaviis tasks`: what people are asked, and their answers.

use serde_json::Value as Json;
use traaviis_model::record::TaskAct;

use crate::{
    control::protocol::Ask,
    exit::Exit,
    input,
    operations::{self, DataArgs},
    output::Output,
    terminal::{clip, table},
    trace::relative,
};

/// Lists open tasks and approvals, or answers one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    data: DataArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Answers a task.
    Decide {
        #[command(flatten)]
        task: TaskArgs,
        /// One of the outcomes of the task.
        outcome: String,
        /// What the form of the task asks for.
        #[arg(long, value_name = "JSON")]
        form: Option<String>,
        /// For others to read.
        #[arg(long)]
        comment: Option<String>,
    },
    /// Takes a task, so that nobody else answers it.
    Claim {
        #[command(flatten)]
        task: TaskArgs,
    },
    /// Gives a task back.
    Release {
        #[command(flatten)]
        task: TaskArgs,
    },
    /// Hands a task to somebody else, who has claimed it from then on.
    Delegate {
        #[command(flatten)]
        task: TaskArgs,
        /// To whom, as `--as` names them.
        to: String,
        /// Why, for others to read.
        #[arg(long)]
        comment: Option<String>,
    },
    /// Says something to a task, and answers nothing.
    Comment {
        #[command(flatten)]
        task: TaskArgs,
        /// What is said.
        text: String,
    },
    /// Shows a task with what was said to it.
    Show {
        #[command(flatten)]
        task: TaskArgs,
    },
}

#[derive(Debug, clap::Args)]
struct TaskArgs {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Which task, when the instance has several.
    #[arg(long, value_name = "PATH")]
    at: Option<String>,
    #[command(flatten)]
    data: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let (task, act, what) = match &args.command {
        None => return list(&args.data, output),
        Some(Command::Claim { task }) => (task, TaskAct::Claim, "claimed".to_string()),
        Some(Command::Release { task }) => (task, TaskAct::Release, "released".to_string()),
        Some(Command::Show { task }) => return show(task, output),
        Some(Command::Delegate { task, to, comment }) => {
            let to = to.strip_prefix("user:").unwrap_or(to);
            let comment = comment.as_deref().map(Into::into);
            let act = TaskAct::Delegate { to: format!("user:{to}").into(), comment };
            (task, act, format!("handed to `{}`", clip(to, 120)))
        }
        Some(Command::Comment { task, text }) => {
            (task, TaskAct::Comment { text: text.as_str().into() }, "said".to_string())
        }
        Some(Command::Decide { task, outcome, form, comment }) => {
            let form = match form {
                Some(text) => input::json(text, "the form")?,
                None => traaviis_model::Value::Null,
            };
            let comment = comment.as_deref().map(Into::into);
            let act = TaskAct::Decide { outcome: outcome.as_str().into(), form, comment };
            (task, act, format!("answered `{outcome}`"))
        }
    };
    let ask =
        Ask::Task { id: task.id.clone(), path: task.at.clone(), act, names: None, taker: None };
    operations::change(&task.data, ask, &what, output)
}

fn list(data: &DataArgs, output: &Output) -> anyhow::Result<Exit> {
    let answer = operations::ask(data, Ask::Tasks)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let items = answer["tasks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if items.is_empty() {
        output.line(&format!("no open tasks in `{}`", data.dir().display()));
        return Ok(Exit::Ok);
    }
    let mut rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let mut headings =
        vec!["INSTANCE", "WORKFLOW", "AT", "TITLE", "OUTCOMES", "FOR", "CLAIMED", "DUE"];
    let attached: Vec<String> = items.iter().map(attachments).collect();
    if attached.iter().any(|it| !it.is_empty()) {
        headings.push("ATTACHED");
        rows.iter_mut().zip(attached).for_each(|(row, it)| row.push(it));
    }
    output.text(&table(&headings, &rows));
    output.line("answer one: traaviis tasks decide INSTANCE OUTCOME");
    Ok(Exit::Ok)
}

/// Tells what a task asks, of whom, and what was said to it.
fn show(task: &TaskArgs, output: &Output) -> anyhow::Result<Exit> {
    let ask = Ask::ShowTask { id: task.id.clone(), path: task.at.clone() };
    let answer = operations::ask(&task.data, ask)?;
    if output.is_json() {
        output.json(&answer);
        return Ok(Exit::Ok);
    }
    let text = |it: &Json| it.as_str().map(|it| clip(it, 400)).unwrap_or_default();
    let words = |key: &str| {
        let words = answer[key].as_array().into_iter().flatten().filter_map(Json::as_str);
        clip(&words.collect::<Vec<_>>().join(", "), 400)
    };
    for (name, value) in [
        ("title", text(&answer["title"])),
        ("about", text(&answer["description"])),
        ("instance", text(&answer["instance"])),
        ("at", text(&answer["path"])),
        ("for", words("assignees")),
        ("outcomes", words("outcomes")),
        ("claimed", text(&answer["claimed_by"])),
        ("due", text(&answer["due"])),
    ] {
        if !value.is_empty() {
            output.line(&format!("{name:<10}{value}"));
        }
    }
    for said in answer["comments"].as_array().into_iter().flatten() {
        output.line(&format!("{}  {}", text(&said["by"]), text(&said["text"])));
    }
    Ok(Exit::Ok)
}

/// Names what is attached to a task; what it is stands in `--json`.
fn attachments(item: &Json) -> String {
    let names: Vec<&str> =
        item["attachments"].as_object().into_iter().flatten().map(|it| &**it.0).collect();
    clip(&names.join(", "), 40)
}

fn row(item: &Json) -> Vec<String> {
    let text = |key: &str| item[key].as_str().unwrap_or_default().to_string();
    let words = |key: &str| {
        let words = item[key].as_array().map(Vec::as_slice).unwrap_or_default();
        words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(", ")
    };
    let due = item["due_ms"].as_i64().map(|it| match it {
        ..=0 => "over".to_string(),
        left => format!("in {}", relative(traaviis_model::Span::millis(left))),
    });
    vec![
        text("instance"),
        text("workflow"),
        text("path"),
        clip(&text("title"), 80),
        words("outcomes"),
        clip(&words("assignees"), 40),
        text("claimed_by"),
        due.unwrap_or_default(),
    ]
}
