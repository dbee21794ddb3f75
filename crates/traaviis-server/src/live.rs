//! The history of an instance as server-sent events: what is there, then what comes.
//!
//! Each record is one event with its number as `id`, so a reader that was cut off goes on where it
//! was (`Last-Event-ID`). Nothing is left out: the instance is followed before its history is read,
//! and a reader that falls behind is read to from the log again. Rights are looked at again
//! whenever any have changed; the stream ends with them, with the instance, and with the server.

mod effect;

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::body::{Bytes, Frame};
use serde_json::{Value as Json, json};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};
use traaviis_api::{Access, Op, Operation};
use traaviis_model::{InstanceId, Record, Seq, TenantId};
use traaviis_platform::{Caller, Entered, Error, ask::Ask, engine::Committed, tenant::Payloads};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    App, app::Turn, followers::Following, handle, listen::Ends, payloads, request::Request,
};

/// Parts that wait for a reader; the next is made when there is room.
const QUEUE_MAX: usize = 16;
/// Silence after which a comment is sent: proxies end what is silent for a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often rights are looked at.
const RECHECK: Duration = Duration::from_secs(1);

/// Opens the stream of an instance for who may see it.
pub(crate) async fn open(
    app: Arc<App>,
    row: &'static Operation,
    request: Request,
    ends: Option<Ends>,
) -> Result<Response, Error> {
    let request = Arc::new(request);
    // Rights and the instance are looked at as for every request; the answer is how it stands.
    let (asked, works) = (Arc::clone(&request), Arc::clone(&app));
    let span = tracing::Span::current();
    let work = move || span.in_scope(|| handle::request(&works, row, &asked));
    let found = tokio::task::spawn_blocking(work);
    let found = found.await.map_err(|error| Error::new("internal", error.to_string()))??;
    let stands: Json = serde_json::from_slice(&found.body).unwrap_or_default();
    let after = after(&request)?;
    let is_over = |it: &Json| match row.op {
        Op::StreamEffect => effect::is_over(it),
        _ => it["is_over"] == true && it["seq"].as_u64() <= Some(after),
    };
    if request.last_event_id.is_some() && is_over(&stands) {
        // Browsers open what ended again, unless they are told that there is nothing more.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let turn = app.stream()?;
    let stream = Stream::of(&app, row, &request, after, ends, turn)?;
    let (sender, parts) = mpsc::channel(QUEUE_MAX);
    tokio::spawn(stream.run(sender));
    let kind = HeaderValue::from_static("text/event-stream");
    Ok(([(header::CONTENT_TYPE, kind)], Body::new(Parts(parts))).into_response())
}

/// Returns the record behind which the reader wants to begin.
fn after(request: &Request) -> Result<Seq, Error> {
    let named = request.query::<Seq>("after_seq", "the number of a record")?;
    let wrong = || Error::invalid("Last-Event-ID", "this is the number of a record");
    let seen = match request.last_event_id.as_deref().map(str::parse::<Seq>) {
        None => None,
        // No history is so long, and nothing comes behind the last number there is.
        Some(Ok(seen)) if seen <= i64::MAX as Seq => Some(seen),
        Some(_) => return Err(wrong()),
    };
    Ok(seen.or(named).unwrap_or(0))
}

/// What is sent, one part after the other.
struct Parts(mpsc::Receiver<Bytes>);

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|it| it.map(|part| Ok(Frame::data(part))))
    }
}

/// One stream.
struct Stream {
    app: Arc<App>,
    caller: Caller,
    tenant: TenantId,
    action: Action,
    entered: Entered,
    id: InstanceId,
    /// The one effect of the instance that it is about.
    effect: Option<Seq>,
    /// Last record that was sent.
    seq: Seq,
    /// When rights last changed, as far as this stream knows.
    seen: u64,
    ends: Option<Ends>,
    _turn: Turn,
}

/// Why a stream ends.
enum End {
    /// Nobody reads any more, or the server ends; nothing is said.
    Silent,
    /// This is the last thing that is said.
    Said(Bytes),
}

impl Stream {
    fn of(
        app: &Arc<App>,
        row: &Operation,
        request: &Request,
        seq: Seq,
        ends: Option<Ends>,
        turn: Turn,
    ) -> Result<Stream, Error> {
        let gone = || Error::new("not_authenticated", "log in again");
        let seen = app.platform.changes();
        let token = request.token().ok_or_else(gone)?;
        let caller = app.platform.authenticate(token, request.via())?;
        let tenant = app.platform.resolve(&caller, request.part("t"))?;
        let Access::Needs(permission) = row.access else { return Err(gone()) };
        let action = Action::Needs(permission);
        let entered = app.platform.enter_at_once(&caller, tenant, action, Freshness::Any);
        let entered = entered.ok_or_else(gone)?;
        let app = Arc::clone(app);
        let (id, effect) = match row.op {
            Op::StreamEffect => {
                let (id, effect) = effect::of_id(request.part("id"))?;
                (id, Some(effect))
            }
            _ => (request.id("id", "instance")?, None),
        };
        Ok(Stream {
            app,
            caller,
            tenant,
            action,
            entered,
            id,
            effect,
            seq,
            seen,
            ends,
            _turn: turn,
        })
    }

    async fn run(mut self, sender: mpsc::Sender<Bytes>) {
        let done = match self.effect {
            Some(effect) => self.until_effect_is_over(effect, &sender).await,
            None => self.until_over(&sender).await,
        };
        if let Err(End::Said(last)) = done {
            // Whoever is gone needs no farewell.
            let _ = sender.send(last).await;
        }
    }

    /// Sends what is there and what comes; returns when there is no more to send.
    async fn until_over(&mut self, sender: &mpsc::Sender<Bytes>) -> Result<(), End> {
        let mut ticks = interval(RECHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said_at = Instant::now();
        loop {
            // Followed first, so that no step falls between the history and what comes.
            let mut following = self.app.followers.follow(self.tenant, self.id);
            self.catch_up(sender).await?;
            while let Some(part) = self.next(&mut following, &mut ticks, &mut said_at).await? {
                if let Some(part) = part {
                    said_at = Instant::now();
                    sender.send(part).await.map_err(|_| End::Silent)?;
                }
            }
        }
    }

    /// Sends what the log has.
    async fn catch_up(&mut self, sender: &mpsc::Sender<Bytes>) -> Result<(), End> {
        let mut position = 0;
        loop {
            let from = self.seq + 1;
            let ask = Ask::History { id: self.id.to_string(), from, position };
            let told = self.ask(ask).await?;
            for line in told["lines"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                self.seq += 1;
                let part = event(Some(self.seq), "record", &self.seen_of(line.trim_end()));
                sender.send(part).await.map_err(|_| End::Silent)?;
            }
            self.check()?;
            position = told["next"].as_u64().unwrap_or(position);
            if told["more"] != true {
                break;
            }
        }
        let told = self.ask(Ask::Show { id: self.id.to_string() }).await?;
        let snapshot = &told["snapshot"];
        let is_over = !snapshot["finished_at"].is_null();
        // Whoever asks for what is behind the end is told where that is.
        let last = snapshot["seq"].as_u64().unwrap_or(self.seq);
        match is_over && last <= self.seq {
            true => Err(ended(&snapshot["status"], last)),
            false => Ok(()),
        }
    }

    /// Waits for the next part: a step, or a comment after a long silence. None when steps were
    /// missed, so that the log must be read again.
    async fn next(
        &mut self,
        following: &mut Following,
        ticks: &mut tokio::time::Interval,
        said_at: &mut Instant,
    ) -> Result<Option<Option<Bytes>>, End> {
        let over = async {
            match &mut self.ends {
                Some(Ends(ends)) => drop(ends.changed().await),
                None => std::future::pending().await,
            }
        };
        let step = tokio::select! {
            step = following.next() => step,
            _ = ticks.tick() => {
                self.check()?;
                let is_silent = said_at.elapsed() >= HEARTBEAT;
                return Ok(Some(is_silent.then(|| Bytes::from_static(b":\n\n"))));
            }
            () = over => return Err(End::Silent),
        };
        let Some(step) = step else { return Ok(None) };
        let first = step.records.first().map_or(0, |it| it.header.seq);
        if first > self.seq + 1 {
            return Ok(None);
        }
        let part = self.part(&step);
        match step.snapshot.status.is_finished() {
            true => {
                let End::Said(last) = ended(&json!(step.snapshot.status), self.seq) else {
                    return Err(End::Silent);
                };
                Err(End::Said([part, last].concat().into()))
            }
            false => Ok(Some(Some(part).filter(|it| !it.is_empty()))),
        }
    }

    /// Writes the records of a step that were not sent.
    fn part(&mut self, step: &Committed) -> Bytes {
        let mut part = Vec::new();
        for record in step.records.iter().filter(|it| it.header.seq > self.seq) {
            let text = self.seen_of(&line_of(record));
            part.extend_from_slice(&event(Some(record.header.seq), "record", &text));
        }
        self.seq = self.seq.max(step.snapshot.seq);
        part.into()
    }

    /// Returns of a record what the reader may see. Where an act came from is for those who read
    /// the audit trail.
    fn seen_of(&self, line: &str) -> String {
        let access = self.entered.data_access;
        if access.payloads == Payloads::Full && !line.contains(r#""origin":"#) {
            return line.to_owned();
        }
        let mut record: Json = serde_json::from_str(line).unwrap_or_default();
        record.as_object_mut().map(|it| it.remove("origin"));
        payloads::shown(record, access).0.to_string()
    }

    /// Looks whether the reader may still see it, when any rights have changed or their token ends.
    fn check(&mut self) -> Result<(), End> {
        let changes = self.app.platform.changes();
        let has_ended = self.caller.until().is_some_and(|it| it <= self.app.platform.now());
        if changes == self.seen && !has_ended {
            return Ok(());
        }
        self.seen = changes;
        let revoked = |code: &str| {
            let told = json!({ "code": code }).to_string();
            End::Said(event(None, "revoked", &told))
        };
        let platform = &self.app.platform;
        platform.recheck(&self.caller).map_err(|error| revoked(&error.code))?;
        let entered =
            platform.enter_at_once(&self.caller, self.tenant, self.action, Freshness::Any);
        self.entered = entered.ok_or_else(|| revoked("insufficient_permissions"))?;
        Ok(())
    }

    async fn ask(&self, ask: Ask) -> Result<Json, End> {
        let (engine, ctx) = (Arc::clone(&self.app.engine), self.entered.ctx.clone());
        let told = tokio::task::spawn_blocking(move || engine.ask(&ctx, ask)).await;
        let told = told.unwrap_or_else(|error| Err(Error::new("internal", error.to_string())));
        told.map_err(|error| {
            End::Said(event(None, "failed", &json!({ "code": error.code }).to_string()))
        })
    }
}

fn ended(status: &Json, seq: Seq) -> End {
    End::Said(event(None, "end", &json!({ "status": status, "seq": seq }).to_string()))
}

/// Returns a record as the log has it, without the end of its line.
fn line_of(record: &Record) -> String {
    let mut line = Vec::new();
    record.write_line(&mut line);
    String::from_utf8_lossy(&line).trim_end().to_owned()
}

/// Writes one event; what it holds has no line ends.
fn event(id: Option<Seq>, name: &str, data: &str) -> Bytes {
    debug_assert!(!data.contains('\n'), "JSON on one line");
    let id = id.map(|it| format!("id: {it}\n")).unwrap_or_default();
    format!("{id}event: {name}\ndata: {data}\n\n").into()
}
