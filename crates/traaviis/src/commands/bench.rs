//! `traaviis bench`: measures what this machine allows and what the engine reaches.

use std::path::PathBuf;

use crate::{
    bench::{self, Part, Plan},
    data::Scratch,
    exit::Exit,
    output::Output,
};

/// Measures.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, clap::Subcommand)]
enum Suite {
    /// The engine beside the limits of disk and log, interleaved.
    Engine(EngineArgs),
    /// Reads, writes and lists beside more and more waiting instances.
    Storage(StorageArgs),
}

#[derive(Debug, clap::Args)]
struct StorageArgs {
    /// Fewer waiting instances, shorter measurements.
    #[arg(long)]
    quick: bool,
    /// As small as can be; checks the benchmark, measures nothing.
    #[arg(long, hide = true, conflicts_with = "quick")]
    tiny: bool,
    /// Work in this new directory, on the disk that is to be measured. Default: the current one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct EngineArgs {
    /// Shorter measurements, fewer waiting instances.
    #[arg(long)]
    quick: bool,
    /// As small as can be; checks the benchmark, measures nothing.
    #[arg(long, hide = true, conflicts_with = "quick")]
    tiny: bool,
    /// Work in this new directory, on the disk that is to be measured. Default: the current one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only rates, with this many busy instances: for a profiler.
    #[arg(long, value_name = "COUNT")]
    instances: Option<usize>,
    /// In a child: measure this in the directory.
    #[arg(long, hide = true, requires = "dir")]
    child: Option<Part>,
    /// How much of it.
    #[arg(long, hide = true, default_value_t = 0)]
    count: usize,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let args = match &args.suite {
        Suite::Engine(args) => args,
        Suite::Storage(args) => return storage(args, output),
    };
    if let (Some(part), Some(dir)) = (args.child, &args.dir) {
        return part.run(dir, args.count, output);
    }
    let mut plan = match (args.quick, args.tiny) {
        (_, true) => Plan::tiny(),
        (true, _) => Plan::quick(),
        _ => Plan::full(),
    };
    if let Some(count) = args.instances {
        let callers = vec![count.max(1)];
        plan = Plan { callers, parked: Vec::new(), alone: Vec::new(), ..plan };
    }
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let scratch = Scratch::below(&parent)?;
    let result = bench::engine(&plan, scratch.dir(), output);
    drop(scratch);
    result
}

fn storage(args: &StorageArgs, output: &Output) -> anyhow::Result<Exit> {
    let plan = match (args.quick, args.tiny) {
        (_, true) => bench::storage::Plan::tiny(),
        (true, _) => bench::storage::Plan::quick(),
        _ => bench::storage::Plan::full(),
    };
    let parent = args.dir.clone().unwrap_or_else(|| PathBuf::from("."));
    let scratch = Scratch::below(&parent)?;
    let result = bench::storage::run(&plan, scratch.dir(), output);
    drop(scratch);
    result
}
