//! One effect as server-sent events: how it stands, whenever that is something else, until it has
//! ended.
//!
//! Each event holds the whole of what `GET …/effects/{id}` shows, so a reader that was cut off
//! has missed nothing when it comes again. It is looked at anew after steps of its instance, and
//! not more often than every [`PAUSE`], so an instance that takes many steps costs no more.

use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value as Json, json};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use traaviis_model::Seq;
use traaviis_platform::{Error, ask::Ask};

use super::{End, Ends, HEARTBEAT, RECHECK, Stream, event};
use crate::{followers::Following, payloads};

/// Between two looks: quick enough for people, and ten looks a second at most.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads the id of an effect: the instance, and the record that scheduled it.
pub(super) fn of_id<T: std::str::FromStr>(text: &str) -> Result<(T, Seq), Error> {
    let absent = || Error::not_found("effect", text);
    let (instance, seq) = text.split_once(':').ok_or_else(absent)?;
    let (instance, seq) = (instance.parse().ok(), seq.parse().ok());
    instance.zip(seq).ok_or_else(absent)
}

/// Says whether nothing more comes of an effect that stands so.
pub(super) fn is_over(effect: &Json) -> bool {
    matches!(effect["status"].as_str(), Some("completed" | "failed" | "cancelled" | "skipped"))
}

/// What a stream waits for.
enum Woken {
    /// A step of the instance; it may have been the last.
    Step { is_last: bool },
    /// Steps that were missed.
    Missed,
}

impl Stream {
    /// Tells how an effect stands until it has ended, or its instance has.
    pub(super) async fn until_effect_is_over(
        &mut self,
        seq: Seq,
        sender: &mpsc::Sender<Bytes>,
    ) -> Result<(), End> {
        let mut ticks = interval(RECHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = String::new();
        loop {
            // Followed first, so that no step falls between the look and what comes.
            let mut following = self.app.followers.follow(self.tenant, self.id);
            let told = self.ask(Ask::Show { id: self.id.to_string() }).await?;
            let mut is_last = !told["snapshot"]["finished_at"].is_null();
            loop {
                let id = format!("{}:{seq}", self.id);
                let effect = self.ask(Ask::Effect { id }).await?["effect"].take();
                let effect = payloads::shown(effect, self.entered.data_access).0;
                let text = effect.to_string();
                if text != last {
                    // With a number, so that a browser that comes again hears that it has ended.
                    let part = event(Some(seq), "effect", &text);
                    sender.send(part).await.map_err(|_| End::Silent)?;
                    last = text;
                }
                if is_last || is_over(&effect) {
                    let told = json!({ "status": effect["status"] }).to_string();
                    return Err(End::Said(event(None, "end", &told)));
                }
                match self.woken(&mut following, &mut ticks, sender).await? {
                    Woken::Step { is_last: true } => is_last = true,
                    Woken::Step { is_last: false } => sleep(PAUSE).await,
                    Woken::Missed => break,
                }
            }
        }
    }

    /// Waits for a step, saying now and then that the stream is still there.
    async fn woken(
        &mut self,
        following: &mut Following,
        ticks: &mut tokio::time::Interval,
        sender: &mpsc::Sender<Bytes>,
    ) -> Result<Woken, End> {
        let mut said_at = Instant::now();
        loop {
            let over = async {
                match &mut self.ends {
                    Some(Ends(ends)) => drop(ends.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                step = following.next() => return Ok(match step {
                    Some(step) => Woken::Step { is_last: step.snapshot.status.is_finished() },
                    None => Woken::Missed,
                }),
                _ = ticks.tick() => {
                    self.check()?;
                    if said_at.elapsed() >= HEARTBEAT {
                        let silence = Bytes::from_static(b":\n\n");
                        sender.send(silence).await.map_err(|_| End::Silent)?;
                        said_at = Instant::now();
                    }
                }
                () = over => return Err(End::Silent),
            }
        }
    }
}
