//! `traaviis init` and `traaviis new`: a first project, a first file.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use serde_json::json;
use traaviis_model::{
    Diagnostic,
    document::{self, Format},
};

use crate::{
    document::check_text,
    exit::{Exit, Failure},
    library::Library,
    output::Output,
    terminal::quoted,
};

const WORKFLOW: &str = include_str!("new/workflow.yaml");
const COMPONENT: &str = include_str!("new/component.yaml");
const README: &str = include_str!("new/README.md");
const INPUT: &str = "{\"order_id\": \"A-1\", \"amount\": 40}\n";
/// A data directory is no part of the project.
const IGNORED: &str = "data/\n";

/// Makes a project: a workflow that runs, its input, and a page that says how.
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Directory; made when it does not exist. Files that are there are never changed.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Makes a new file.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Writes a workflow that runs, to be changed.
    #[command(after_help = "Example: traaviis new workflow Order")]
    Workflow(FileArgs),
    /// Writes a component with its tests, a part that workflows share, to be changed.
    #[command(after_help = "Example: traaviis new component Reminder")]
    Component(FileArgs),
}

#[derive(Debug, clap::Args)]
struct FileArgs {
    /// Name: a letter, then letters, digits, `_` and `-`.
    name: String,
    /// File; the name with `.yaml` unless given.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

/// Runs `init`.
pub fn init(args: &InitArgs, output: &Output) -> anyhow::Result<Exit> {
    let dir = &args.dir;
    let whole = std::path::absolute(dir)?;
    let project = whole.file_name().map(|it| it.to_string_lossy().into_owned());
    let project = project.unwrap_or_else(|| "workflows".to_string());
    fs::create_dir_all(dir).map_err(|error| unwritable(dir, &error))?;
    let name = name_from(&project);
    let workflow = workflow(&name, Path::new("workflow.yaml"))?;
    let files = [
        ("workflow.yaml", workflow),
        ("input.json", INPUT.to_string()),
        ("README.md", README.replace("PROJECT_NAME", &project)),
        (".gitignore", IGNORED.to_string()),
    ];
    // All or nothing: a project that is half there explains nothing.
    if let Some((taken, _)) = files.iter().find(|(name, _)| dir.join(name).exists()) {
        return Err(exists(&dir.join(taken)).into());
    }
    for (name, text) in &files {
        write(&dir.join(name), text)?;
    }
    let written: Vec<String> =
        files.iter().map(|(name, _)| dir.join(name).display().to_string()).collect();
    if output.is_json() {
        output.json(&json!({ "written": written }));
        return Ok(Exit::Ok);
    }
    for file in &written {
        output.line(&format!("written {file}"));
    }
    let enter = match dir.to_str() {
        Some(".") => String::new(),
        _ => format!("cd {} && ", quoted(&dir.to_string_lossy())),
    };
    output.line(&format!("next: {enter}traaviis run workflow.yaml --input input.json --event pay"));
    Ok(Exit::Ok)
}

/// Runs `new`.
pub fn new(args: &NewArgs, output: &Output) -> anyhow::Result<Exit> {
    let what = &args.what;
    let (What::Workflow(FileArgs { name, output: file })
    | What::Component(FileArgs { name, output: file })) = what;
    let file = file.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.yaml")));
    let text = match what {
        What::Workflow(_) => workflow(name, &file)?,
        What::Component(_) => component(name, &file)?,
    };
    write(&file, &text)?;
    let shown = file.display().to_string();
    if output.is_json() {
        output.json(&json!({ "written": [shown] }));
    } else {
        output.line(&format!("written {shown}"));
        output.line(&format!("next: traaviis validate {}", quoted(&shown)));
    }
    Ok(Exit::Ok)
}

/// Returns the first workflow under a name, checked like any other.
fn workflow(name: &str, file: &Path) -> Result<String, Failure> {
    let file = quoted(&file.to_string_lossy());
    let text = WORKFLOW.replace("WORKFLOW_NAME", name).replace("WORKFLOW_FILE", &file);
    let read = document::read(&text, Format::Yaml);
    usable(name, text, read.diagnostics.first())
}

/// Returns the first component under a name, checked likewise.
fn component(name: &str, file: &Path) -> Result<String, Failure> {
    let file = quoted(&file.to_string_lossy());
    let text = COMPONENT.replace("COMPONENT_NAME", name).replace("COMPONENT_FILE", &file);
    let checked = check_text(name.into(), &text, Format::Yaml, &Library::built_in());
    usable(name, text, checked.diagnostics.first())
}

fn usable(name: &str, text: String, found: Option<&Diagnostic>) -> Result<String, Failure> {
    match found {
        None => Ok(text),
        Some(found) => Err(Failure::usage(format!("`{name}` cannot be used: {}", found.message))),
    }
}

/// Returns a name for a workflow that is near the name of a directory.
fn name_from(directory: &str) -> String {
    let words = directory.split(|it: char| !it.is_ascii_alphanumeric());
    let name: String = words
        .map(|word| word[..word.len().min(1)].to_ascii_uppercase() + &word[word.len().min(1)..])
        .collect();
    match name.chars().next() {
        Some(first) if first.is_ascii_alphabetic() => name.chars().take(63).collect(),
        _ => "Order".to_string(),
    }
}

/// Writes a file that does not exist yet.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    match opened.and_then(|mut it| it.write_all(text.as_bytes())) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(exists(file)),
        Err(error) => Err(unwritable(file, &error)),
    }
}

fn exists(file: &Path) -> Failure {
    let message = format!("`{}` is there already; it was not changed", file.display());
    Failure::finding("file_exists", message)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write `{}`: {error}", file.display());
    Failure::new(Exit::Denied, "file_unwritable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_gives_a_name() {
        for (directory, name) in [
            ("my-shop", "MyShop"),
            ("orders", "Orders"),
            ("42", "Order"),
            ("", "Order"),
            ("ü", "Order"),
        ] {
            assert_eq!(name_from(directory), name, "{directory}");
        }
    }
}
