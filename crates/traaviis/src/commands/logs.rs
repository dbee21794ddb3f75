//! `traaviis logs`: the trace of one instance, and what comes.

use std::{thread, time::Duration};

use traaviis_model::Body;

use crate::{
    exit::Exit,
    histories::{Place, read_record},
    operations::{Asker, ReadArgs},
    output::Output,
    trace::Trace,
};

/// How often `--follow` looks for more; short enough to look live.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Prints the trace of an instance.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Stay and print what comes, until the instance has ended.
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    data: ReadArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let mut trace = Trace::new(output.style());
    let (mut id, mut place) = (args.id.clone(), Place::before(1));
    // A process may begin or end between two looks.
    let mut asker = Asker::open(&args.data)?;
    loop {
        let lines = asker.history_part(&id, &mut place)?;
        for line in &lines {
            let record = read_record(line.as_bytes())?;
            id = record.header.instance_id.to_string();
            let shown = if output.is_json() { Some(line.clone()) } else { trace.line(&record) };
            let is_read = shown.is_none_or(|it| output.line(&it));
            if !is_read || (args.follow && matches!(record.body, Body::Finished { .. })) {
                return Ok(Exit::Ok);
            }
        }
        if place.has_more {
            continue;
        }
        if !args.follow {
            return Ok(Exit::Ok);
        }
        thread::sleep(LOOK_EVERY);
        asker = Asker::open(&args.data)?;
    }
}
