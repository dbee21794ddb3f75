//! `traaviis codegen`: types and a client of a workflow, for programs in other languages.

use std::path::PathBuf;

use serde_json::json;
use traaviis_design::{
    codegen::{self, Language},
    tree::Tree,
};
use traaviis_model::document::{Format, read_tree};

use crate::{
    document,
    exit::{Exit, Failure},
    output::Output,
};

/// Writes types of a workflow, and a client that starts, sends and asks, for programs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: traaviis codegen order.yaml --lang typescript --output order.ts")]
pub struct Args {
    /// Workflow file, YAML or JSON.
    file: PathBuf,
    /// Language.
    #[arg(long, value_enum)]
    lang: Lang,
    /// Write to this file instead of standard output.
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
}

/// Languages that can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lang {
    /// With `serde` and `serde_json`, and HTTP of your choice.
    Rust,
    /// With `fetch`.
    Typescript,
    /// From 3.11, with its standard library.
    Python,
    /// The document itself.
    Yaml,
}

impl Lang {
    fn word(self) -> &'static str {
        match self {
            Lang::Rust => "rust",
            Lang::Typescript => "typescript",
            Lang::Python => "python",
            Lang::Yaml => "yaml",
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let checked = document::check(&args.file)?;
    if checked.has_errors() && !output.is_json() {
        output.text(&checked.report(output.style()));
    }
    let machine = document::compile(&checked)?;
    let language = match args.lang {
        Lang::Rust => Some(Language::Rust),
        Lang::Typescript => Some(Language::TypeScript),
        Lang::Python => Some(Language::Python),
        Lang::Yaml => None,
    };
    let text = match language {
        Some(language) => codegen::code(machine.definition(), language),
        None => {
            let text = document::read_text(&args.file)?;
            let root = read_tree(&text, Format::of_path(&args.file)).map_err(|_| {
                Failure::finding("definition_invalid", format!("`{}`", args.file.display()))
            })?;
            Tree::of(&root).to_yaml()
        }
    };
    let lang = args.lang.word();
    match &args.output {
        Some(path) => {
            std::fs::write(path, &text).map_err(|error| {
                let message = format!("cannot write `{}`: {error}", path.display());
                Failure::new(Exit::Denied, "file_unwritable", message)
            })?;
            let file = path.display().to_string();
            match output.is_json() {
                true => output.json(&json!({ "lang": lang, "file": file, "bytes": text.len() })),
                false => output.line(&format!("written {file}")),
            };
        }
        None if output.is_json() => {
            output.json(&json!({ "lang": lang, "code": text }));
        }
        None => {
            output.text(&text);
        }
    }
    Ok(Exit::Ok)
}
