//! `traaviis send`: an event for a waiting instance.

use traaviis_model::{Seq, Span, Text};
use traaviis_runtime::{Until, limits::CALLER_WAIT_MAX};

use crate::{
    control::protocol::{Ask, Wait},
    exit::{Exit, Failure},
    input,
    operations::{self, DataArgs},
    output::Output,
};

/// Sends an event to an instance.
///
/// It answers when the event is durable, or with `--wait` when the instance has come somewhere. If
/// that takes too long, or the instance ends elsewhere, the exit code is 1; the event is taken all
/// the same.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Instance: its id or a unique beginning or end of it.
    id: String,
    /// Name of the event.
    event: String,
    /// Payload as JSON, or `-` to read it from standard input.
    payload: Option<String>,
    /// Answer when the instance is there: `step` for the step that takes the event, `state:PATH`
    /// for a state, `final` for the end.
    #[arg(long, value_name = "step|state:PATH|final", value_parser = until)]
    wait: Option<Until>,
    /// Wait at most so long, up to 10m.
    #[arg(long, value_name = "DURATION", default_value = "30s", requires = "wait")]
    timeout: Span,
    /// Only if the instance still stands at this record.
    #[arg(long, value_name = "RECORD")]
    if_seq: Option<Seq>,
    /// Deduplication id: an event with one that was taken lately is not taken again.
    #[arg(long, value_name = "ID")]
    event_id: Option<String>,
    #[command(flatten)]
    source: DataArgs,
}

/// Runs the command.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let most = Span::secs(CALLER_WAIT_MAX.as_secs().cast_signed());
    if args.wait.is_some() && !(0..=most.0).contains(&args.timeout.0) {
        return Err(Failure::usage(format!("`--timeout` is at most {most}")).into());
    }
    let data = input::payload(args.payload.as_deref())?;
    let wait = args.wait.clone().map(|until| Wait { until, timeout: args.timeout });
    let ask = Ask::Send {
        id: args.id.clone(),
        event: args.event.clone(),
        data,
        event_id: args.event_id.as_deref().map(Text::from),
        if_seq: args.if_seq,
        wait,
    };
    operations::change(&args.source, ask, &format!("event `{}` taken", args.event), output)
}

fn until(text: &str) -> Result<Until, String> {
    match text {
        "step" => Ok(Until::Step),
        "final" => Ok(Until::Final),
        _ => match text.strip_prefix("state:") {
            Some(path) if !path.is_empty() => Ok(Until::State(path.into())),
            _ => Err("write `step`, `state:PATH` or `final`".into()),
        },
    }
}
