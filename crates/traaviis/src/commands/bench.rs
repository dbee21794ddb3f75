//! `traaviis bench`: measures what this machine allows and what the engine reaches.

use std::path::{Path, PathBuf};

use crate::{
    bench::{self, Part, Plan, floor, parked, server, sockets, storage, tenants},
    exit::{Exit, Failure},
    output::Output,
    scratch::Scratch,
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
    Storage(Size),
    /// The server beside one that does as little as can be, over loopback.
    Server(ServerArgs),
    /// Many tenants: fairness, and memory beside more data than fits.
    Tenants(TenantsArgs),
    /// Many sockets: memory of each, events until they are heard, and rights that end.
    Sockets(CrowdArgs),
    /// Many waiting instances of many tenants beside sockets, and many tenants beside few.
    Parked(CrowdArgs),
    /// In a child: the server that ours is compared with.
    #[command(hide = true)]
    Floor(FloorArgs),
}

#[derive(Debug, clap::Args)]
struct ServerArgs {
    #[command(flatten)]
    size: Size,
    /// Take medians over so many rounds. Default: 3, or 1 with `--quick`.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: Option<u8>,
    /// Measure a server of others beside it, which answers the jobs of `benches/peers`.
    #[arg(long = "peer", value_name = "NAME=ADDRESS:PORT")]
    peers: Vec<server::Peer>,
}

#[derive(Debug, clap::Args)]
struct CrowdArgs {
    #[command(flatten)]
    size: Size,
    /// Measure the server of another build, such as one before a change.
    #[arg(long, value_name = "PROGRAM")]
    build: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct TenantsArgs {
    #[command(flatten)]
    size: Size,
    /// Where to draw the memory, second by second.
    #[arg(long, value_name = "FILE", default_value = "memory.svg")]
    plot: PathBuf,
    /// In a child: measure this in the directory.
    #[arg(long, hide = true, requires = "dir")]
    child: Option<tenants::Part>,
    #[command(flatten)]
    much: tenants::Much,
}

#[derive(Debug, clap::Args)]
struct FloorArgs {
    /// Where its log is.
    #[arg(long)]
    dir: PathBuf,
}

/// How much is measured, and where.
#[derive(Debug, clap::Args)]
struct Size {
    /// Shorter measurements, fewer waiting instances.
    #[arg(long)]
    quick: bool,
    /// As small as can be; checks the benchmark, measures nothing.
    #[arg(long, hide = true, conflicts_with = "quick")]
    tiny: bool,
    /// Work in this new directory, on the disk that is to be measured. Default: the current one.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Size {
    /// Chooses the full plan, the quick one, or the tiny one.
    fn choose<T>(&self, [full, quick, tiny]: [fn() -> T; 3]) -> T {
        match (self.quick, self.tiny) {
            (_, true) => tiny(),
            (true, _) => quick(),
            _ => full(),
        }
    }

    fn scratch(&self) -> Result<Scratch, Failure> {
        Scratch::below(self.dir.as_deref().unwrap_or(Path::new(".")))
    }
}

#[derive(Debug, clap::Args)]
struct EngineArgs {
    #[command(flatten)]
    size: Size,
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
    match &args.suite {
        Suite::Engine(args) => engine(args, output),
        Suite::Storage(size) => {
            let plan =
                size.choose([storage::Plan::full, storage::Plan::quick, storage::Plan::tiny]);
            storage::run(&plan, size.scratch()?.dir(), output)
        }
        Suite::Server(ServerArgs { size, rounds, peers }) => {
            let plans = [server::Plan::full, server::Plan::quick, server::Plan::tiny];
            let mut plan = size.choose(plans);
            plan.rounds = rounds.map_or(plan.rounds, usize::from);
            server::run(&plan, size.scratch()?.dir(), peers, output)
        }
        Suite::Tenants(args) => {
            if let (Some(part), Some(dir)) = (args.child, &args.size.dir) {
                return part.run(dir, args.much, output);
            }
            let plans = [tenants::Plan::full, tenants::Plan::quick, tenants::Plan::tiny];
            tenants::run(&args.size.choose(plans), args.size.scratch()?.dir(), &args.plot, output)
        }
        Suite::Sockets(CrowdArgs { size, build }) => {
            let plans = [sockets::Plan::full, sockets::Plan::quick, sockets::Plan::tiny];
            let (plan, build) = (size.choose(plans), build.as_deref());
            sockets::run(&plan, build, size.scratch()?.dir(), output)
        }
        Suite::Parked(CrowdArgs { size, build }) => {
            let plans = [parked::Plan::full, parked::Plan::quick, parked::Plan::tiny];
            let (plan, build) = (size.choose(plans), build.as_deref());
            parked::run(&plan, build, size.scratch()?.dir(), output)
        }
        Suite::Floor(args) => floor::serve(&args.dir, output),
    }
}

fn engine(args: &EngineArgs, output: &Output) -> anyhow::Result<Exit> {
    if let (Some(part), Some(dir)) = (args.child, &args.size.dir) {
        return part.run(dir, args.count, output);
    }
    let mut plan = args.size.choose([Plan::full, Plan::quick, Plan::tiny]);
    if let Some(count) = args.instances {
        let callers = vec![count.max(1)];
        plan = Plan { callers, parked: Vec::new(), alone: Vec::new(), ..plan };
    }
    bench::engine(&plan, args.size.scratch()?.dir(), output)
}
