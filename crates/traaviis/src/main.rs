//! The binary `traaviis`: reads the command line, wires adapters to the runtime, prints.
//!
//! Responsible for composition and for what a person sees; every rule lives in the crates below.
//! Invariant: whatever goes wrong ends as one [`exit::Failure`] with a stable code and exit number.
//!
//! Reading order: [`commands`] (one file each), [`data`] (a directory with a runtime in it),
//! [`operations`] (questions answered live or from disk), [`control`] (the socket between both).

mod admin;
mod auditing;
mod backups;
mod bench;
mod children;
mod clock;
mod commands;
mod config;
mod connectors;
mod control;
mod data;
mod defects;
mod demo;
mod disk;
mod document;
mod erasure;
mod exit;
mod histories;
mod identity;
mod import_tree;
mod input;
mod jobs;
mod library;
mod lookup;
mod memory;
mod open_files;
mod operations;
mod output;
mod platform;
mod plugins;
mod refused_targets;
mod remote;
mod scratch;
mod scrub;
mod secrets;
mod sent_bytes;
mod served;
mod standing;
mod storage;
mod studies;
mod telemetry;
mod terminal;
mod trace;
mod tree;

use std::{io::Write as _, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{
    commands::{
        admin as admin_command, alerts, api, audit, backup, bench as bench_command, broadcast,
        bulk, cancel, codegen, compact, compare, completions, diff, doctor, edit, effects,
        evidence, export, fmt, fork, graph, import, incidents, invoices, keys, log, login, logs,
        member, metrics, move_to, new, pause, privacy, ps, query, rebuild, replay, resolve,
        restore, retry, role, run, schedules, schema, secrets as secrets_command, send, serve,
        show, simulate, skip, tag, tasks, tenant, test, token, upgrade, usage, user, validate,
        version, view,
    },
    exit::{Exit, Failure},
    output::Output,
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Durable workflows from files.
#[derive(Debug, Parser)]
#[command(name = "traaviis", version, propagate_version = true)]
struct Cli {
    /// Write JSON for programs instead of text for people.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(new::InitArgs),
    New(new::NewArgs),
    Run(run::Args),
    Validate(validate::Args),
    Test(test::Args),
    Simulate(simulate::Args),
    Fmt(fmt::Args),
    Graph(graph::Args),
    Codegen(codegen::Args),
    Diff(diff::Args),
    Import(import::Args),
    Replay(replay::Args),
    Compare(compare::Args),
    Ps(ps::Args),
    Schedules(schedules::Args),
    Alerts(alerts::Args),
    Usage(usage::Args),
    Invoices(invoices::Args),
    Show(show::Args),
    Send(send::Args),
    Broadcast(broadcast::Args),
    Query(query::Args),
    Tag(tag::Args),
    Resolve(resolve::Args),
    Retry(retry::Args),
    Skip(skip::Args),
    Fork(fork::Args),
    Effects(effects::Args),
    Tasks(tasks::Args),
    Incidents(incidents::Args),
    /// Stops an instance between two steps.
    Pause(pause::Args),
    /// Lets a paused instance go on.
    Resume(pause::Args),
    Edit(edit::Args),
    Move(move_to::Args),
    Upgrade(upgrade::Args),
    Bulk(bulk::Args),
    Cancel(cancel::Args),
    Logs(logs::Args),
    Audit(audit::Args),
    Evidence(evidence::Args),
    Metrics(metrics::Args),
    Log(log::Args),
    Export(export::Args),
    Doctor(doctor::Args),
    Rebuild(rebuild::Args),
    View(view::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Tenant(tenant::Args),
    Admin(admin_command::Args),
    User(user::Args),
    Member(member::Args),
    Role(role::Args),
    Token(token::Args),
    #[command(visible_alias = "secret")]
    Secrets(secrets_command::Args),
    Privacy(privacy::Args),
    #[command(visible_alias = "key")]
    Keys(keys::Args),
    Compact(compact::Args),
    Bench(bench_command::Args),
    Schema(schema::Args),
    Serve(serve::Args),
    Dev(serve::DevArgs),
    Login(login::Args),
    Api(api::Args),
    Completions(completions::Args),
    Version(version::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(tag::spelled_out(std::env::args_os())) {
        Ok(cli) => cli,
        Err(answer) => return told(&answer),
    };
    let output = Output::new(cli.json);
    // A server tells what it does in its own way, once it knows its settings.
    if !matches!(cli.command, Command::Serve(_) | Command::Dev(_)) {
        telemetry::notes();
    }
    let result = match &cli.command {
        Command::Run(args) => run::run(args, &output),
        Command::Validate(args) => validate::run(args, &output),
        Command::Test(args) => test::run(args, &output),
        Command::Simulate(args) => simulate::run(args, &output),
        Command::Fmt(args) => fmt::run(args, &output),
        Command::Graph(args) => graph::run(args, &output),
        Command::Codegen(args) => codegen::run(args, &output),
        Command::Diff(args) => diff::run(args, &output),
        Command::Import(args) => import::run(args, &output),
        Command::Replay(args) => replay::run(args, &output),
        Command::Compare(args) => compare::run(args, &output),
        Command::Ps(args) => ps::run(args, &output),
        Command::Schedules(args) => schedules::run(args, &output),
        Command::Alerts(args) => alerts::run(args, &output),
        Command::Usage(args) => usage::run(args, &output),
        Command::Invoices(args) => invoices::run(args, &output),
        Command::Show(args) => show::run(args, &output),
        Command::Send(args) => send::run(args, &output),
        Command::Broadcast(args) => broadcast::run(args, &output),
        Command::Query(args) => query::run(args, &output),
        Command::Tag(args) => tag::run(args, &output),
        Command::Resolve(args) => resolve::run(args, &output),
        Command::Effects(args) => effects::run(args, &output),
        Command::Tasks(args) => tasks::run(args, &output),
        Command::Retry(args) => retry::run(args, &output),
        Command::Skip(args) => skip::run(args, &output),
        Command::Fork(args) => fork::run(args, &output),
        Command::Incidents(args) => incidents::run(args, &output),
        Command::Pause(args) => pause::pause(args, &output),
        Command::Resume(args) => pause::resume(args, &output),
        Command::Edit(args) => edit::run(args, &output),
        Command::Move(args) => move_to::run(args, &output),
        Command::Upgrade(args) => upgrade::run(args, &output),
        Command::Bulk(args) => bulk::run(args, &output),
        Command::Export(args) => export::run(args, &output),
        Command::Cancel(args) => cancel::run(args, &output),
        Command::Logs(args) => logs::run(args, &output),
        Command::Audit(args) => audit::run(args, &output),
        Command::Evidence(args) => evidence::run(args, &output),
        Command::Metrics(args) => metrics::run(args, &output),
        Command::Log(args) => log::run(args, &output),
        Command::Doctor(args) => doctor::run(args, &output),
        Command::Rebuild(args) => rebuild::run(args, &output),
        Command::View(args) => view::run(args, &output),
        Command::Backup(args) => backup::run(args, &output),
        Command::Restore(args) => restore::run(args, &output),
        Command::Tenant(args) => tenant::run(args, &output),
        Command::Admin(args) => admin_command::run(args, &output),
        Command::User(args) => user::run(args, &output),
        Command::Member(args) => member::run(args, &output),
        Command::Role(args) => role::run(args, &output),
        Command::Token(args) => token::run(args, &output),
        Command::Secrets(args) => secrets_command::run(args, &output),
        Command::Privacy(args) => privacy::run(args, &output),
        Command::Keys(args) => keys::run(args, &output),
        Command::Compact(args) => compact::run(args, &output),
        Command::Bench(args) => bench_command::run(args, &output),
        Command::Schema(args) => schema::run(args, &output),
        Command::Serve(args) => serve::run(args, &output),
        Command::Dev(args) => serve::dev(args, &output),
        Command::Login(args) => login::run(args, &output),
        Command::Api(args) => api::run(args, &output),
        Command::Init(args) => new::init(args, &output),
        Command::New(args) => new::new(args, &output),
        Command::Completions(args) => completions::run(args, Cli::command(), &output),
        Command::Version(args) => version::run(args, &output),
    };
    let exit = result.unwrap_or_else(|error| {
        let failure = Failure::of(&error);
        output.failure(&failure);
        failure.exit
    });
    output::exit_of(exit).into()
}

/// Prints what was asked for, `--help` or `--version`, or what is wrong with the command line.
fn told(answer: &clap::Error) -> ExitCode {
    // What cannot be read cannot be asked for `--json`; the word alone says who reads the answer.
    if answer.use_stderr() && std::env::args_os().any(|it| it == "--json") {
        let text = answer.render().to_string();
        let failure = Failure::usage(text.trim_start_matches("error: ").trim());
        Output::new(true).failure(&failure);
        return output::exit_of(Exit::Usage).into();
    }
    let printed = answer.print().and_then(|()| std::io::stdout().flush());
    let exit = if answer.use_stderr() { Exit::Usage } else { Exit::Ok };
    if let (Err(error), Exit::Ok) = (printed, exit) {
        output::lose(&error);
    }
    output::exit_of(exit).into()
}
