//! Sockets: the Phoenix Channels protocol, version 2, which clients in many languages speak.
//!
//! A socket belongs to a caller, who is looked up again for every message and whenever rights have
//! changed: a session that ended closes the socket, a membership that ended its topics. What is
//! asked for on a topic is carried out as the operation of the table that it stands for, so no
//! right is decided here.
//!
//! Reading order: [`frame`], [`hub`], [`topic`].

pub mod frame;
pub mod hub;
mod topic;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{
        ConnectInfo, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use tokio::{
    sync::{Notify, mpsc},
    time::{MissedTickBehavior, interval},
};
use traaviis_platform::{Caller, Error, audit::Via};

use crate::{App, metrics::SocketEvent, request::bearer};
use frame::{Frame, broadcast};
use hub::{Hub, Place, QUEUE_MAX};
use topic::Joined;

/// Bytes of a frame of a client.
const FRAME_BYTES_MAX: usize = 64 << 10;
/// Bytes of the buffers of a socket: the library's own cost 128 KiB a connection.
const BUFFER_BYTES: usize = 4 << 10;
/// A socket that is silent for so long is closed; clients send a heartbeat every 30 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Messages of a client in one second.
const MESSAGES_MAX: u32 = 50;
/// Topics of one socket.
const TOPICS_MAX: usize = 64;
/// How often rights are looked at.
const RECHECK: Duration = Duration::from_secs(1);
/// How the token stands among subprotocols.
const BEARER: &str = "base64url.bearer.phx.";
/// The subprotocol that is agreed on.
const PHOENIX: &str = "phoenix";

/// Opens a socket for who shows a token: as parameter `token` or `ticket`, or among the
/// subprotocols.
pub async fn open(
    State(app): State<Arc<App>>,
    upgrade: WebSocketUpgrade,
    from: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    request: axum::extract::RawQuery,
) -> Response {
    let query = crate::routes::query(request.0.as_deref().unwrap_or_default());
    let refuse = |status: StatusCode| {
        app.metrics.socket(SocketEvent::Refused);
        status.into_response()
    };
    if !is_own_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN);
    }
    let from = crate::routes::caller_of(&app, from, &headers);
    let Ok(Some(caller)) = recognise(&app, from.as_deref(), &headers, &query).await else {
        return refuse(StatusCode::FORBIDDEN);
    };
    let Some(place) = app.hub.enter() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE);
    };
    app.metrics.socket(SocketEvent::Opened);
    upgrade
        .protocols([PHOENIX])
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(FRAME_BYTES_MAX * 4)
        .on_upgrade(move |socket| Conversation::of(app, caller, place).run(socket))
}

/// Says whether a page of our own opens the socket; programs send no origin.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = text(header::HOST).unwrap_or_default();
    let named = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    named.is_some_and(|it| !host.is_empty() && it.eq_ignore_ascii_case(host))
}

async fn recognise(
    app: &Arc<App>,
    from: Option<&str>,
    headers: &HeaderMap,
    query: &BTreeMap<String, String>,
) -> Result<Option<Caller>, Error> {
    let text = |name| headers.get(name).and_then(|it| it.to_str().ok());
    let among =
        text(header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default().split(',').find_map(|it| {
            let text = it.trim().strip_prefix(BEARER)?;
            String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
        });
    let shown = text(header::AUTHORIZATION).and_then(bearer).map(str::to_owned);
    let agent = text(header::USER_AGENT);
    let (user_agent, ip_address) = (agent.map(Into::into), from.map(Into::into));
    let via = Via { way: "socket", user_agent, ip_address, ..Via::default() };
    if let Some(ticket) = query.get("ticket") {
        let Some(caller) = app.tickets.take(ticket, app.platform.now()) else { return Ok(None) };
        // The ticket may have come to another network than the one that it was made in.
        let caller = Caller { via: Via { way: caller.via.way, ..via }, ..caller };
        app.platform.recheck(&caller)?;
        return Ok(Some(caller));
    }
    let Some(token) = among.or_else(|| query.get("token").cloned()).or(shown) else {
        return Ok(None);
    };
    let app = Arc::clone(app);
    let found = tokio::task::spawn_blocking(move || app.platform.authenticate(&token, via)).await;
    found.map_err(|_| Error::new("internal", "a defect of this server"))?.map(Some)
}

/// One socket.
struct Conversation {
    app: Arc<App>,
    caller: Caller,
    place: Place,
    joined: BTreeMap<String, Joined>,
    sender: mpsc::Sender<Arc<str>>,
    queue: mpsc::Receiver<Arc<str>>,
    slow: Arc<Notify>,
    heard_at: Instant,
    /// Second that is counted, and messages in it.
    pace: (Instant, u32),
    /// When rights last changed, as far as this socket knows.
    seen: u64,
}

/// Why a conversation ends.
enum End {
    Gone,
    Closed(u16, &'static str),
}

impl Conversation {
    fn of(app: Arc<App>, caller: Caller, place: Place) -> Conversation {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let seen = app.platform.changes();
        let now = Instant::now();
        Conversation {
            app,
            caller,
            place,
            joined: BTreeMap::new(),
            sender,
            queue,
            slow: Arc::default(),
            heard_at: now,
            pace: (now, 0),
            seen,
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let end = self.until_over(&mut socket).await;
        for (topic, joined) in std::mem::take(&mut self.joined) {
            joined.leave(&self.app.hub, &topic, self.place.socket);
        }
        if let End::Closed(code, reason) = end {
            let frame = CloseFrame { code, reason: reason.into() };
            // Whoever is gone needs no farewell.
            let _ = socket.send(Message::Close(Some(frame))).await;
        }
    }

    async fn until_over(&mut self, socket: &mut WebSocket) -> End {
        let mut ticks = interval(RECHECK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let slow = Arc::clone(&self.slow);
        loop {
            let texts: Vec<Arc<str>> = tokio::select! {
                message = socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => match self.heard(text.as_str()).await {
                        Ok(texts) => texts,
                        Err(end) => return end,
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                        self.heard_at = Instant::now();
                        continue;
                    }
                    Some(Ok(Message::Binary(_))) => return End::Closed(1003, "text frames only"),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
                },
                Some(text) = self.queue.recv() => vec![text],
                () = slow.notified() => return End::Closed(1013, "too slow; read anew"),
                _ = ticks.tick() => match self.look().await {
                    Ok(texts) => texts,
                    Err((texts, end)) => {
                        for text in texts {
                            let _ = socket.send(Message::Text(text.as_ref().into())).await;
                        }
                        return end;
                    }
                },
            };
            for text in texts {
                if socket.send(Message::Text(text.as_ref().into())).await.is_err() {
                    return End::Gone;
                }
            }
        }
    }

    /// Looks from time to time whether the caller is still one, and may still hear what they hear.
    async fn look(&mut self) -> Result<Vec<Arc<str>>, (Vec<Arc<str>>, End)> {
        if self.heard_at.elapsed() > SILENCE_MAX {
            return Err((Vec::new(), End::Closed(1000, "silent for too long")));
        }
        let changes = self.app.platform.changes();
        if changes == self.seen {
            return Ok(Vec::new());
        }
        self.seen = changes;
        if let Err(error) = self.app.platform.recheck(&self.caller) {
            let topic = format!("user_activity:{}", self.caller.user);
            let told = json!({ "reason": error.code });
            let texts = vec![broadcast(&topic, "session:revoked", &told).into()];
            return Err((texts, End::Closed(4001, "the session has ended")));
        }
        let mut texts: Vec<Arc<str>> = Vec::new();
        let mut gone = Vec::new();
        for (topic, joined) in &self.joined {
            if joined.may_still(&self.app, &self.caller).is_err() {
                let told = json!({ "reason": "unauthorized" });
                texts.push(joined.frame(topic).push("phx_close", &told).into());
                gone.push(topic.clone());
            }
        }
        for topic in gone {
            if let Some(joined) = self.joined.remove(&topic) {
                joined.leave(&self.app.hub, &topic, self.place.socket);
            }
        }
        Ok(texts)
    }

    /// Takes a message of the client; returns what is said to it.
    async fn heard(&mut self, text: &str) -> Result<Vec<Arc<str>>, End> {
        let now = Instant::now();
        self.heard_at = now;
        let Some(frame) = Frame::read(text) else {
            return Err(End::Closed(1002, "no frame of the protocol"));
        };
        if frame.topic == "phoenix" && frame.event == "heartbeat" {
            return Ok(vec![frame.reply(Ok(json!({}))).into()]);
        }
        if now.duration_since(self.pace.0) >= Duration::from_secs(1) {
            self.pace = (now, 0);
        }
        self.pace.1 += 1;
        if self.pace.1 > MESSAGES_MAX {
            let message = format!("at most {MESSAGES_MAX} messages a second");
            let error = Error::new("rate_limit_exceeded", message);
            return Ok(vec![frame.reply(Err(self.problem(&error))).into()]);
        }
        Ok(match &*frame.event {
            "phx_join" => self.join(frame).await,
            "phx_leave" => self.leave(&frame),
            _ => vec![self.asked(frame).await.into()],
        })
    }

    async fn join(&mut self, frame: Frame) -> Vec<Arc<str>> {
        let mut texts: Vec<Arc<str>> = Vec::new();
        if let Some(before) = self.joined.remove(&frame.topic) {
            before.leave(&self.app.hub, &frame.topic, self.place.socket);
            texts.push(before.frame(&frame.topic).push("phx_close", &json!({})).into());
        }
        if self.joined.len() >= TOPICS_MAX {
            let message = format!("a socket hears at most {TOPICS_MAX} topics");
            let error = Error::new("quota_exceeded", message);
            texts.push(frame.reply(Err(self.problem(&error))).into());
            return texts;
        }
        let (app, caller, asked) = (Arc::clone(&self.app), self.caller.clone(), frame.clone());
        let subscriber = (self.place.socket, self.sender.clone(), Arc::clone(&self.slow));
        let joined =
            tokio::task::spawn_blocking(move || topic::join(&app, &caller, &asked, subscriber));
        match joined.await.unwrap_or_else(|_| Err(Error::new("internal", "a defect"))) {
            Ok((joined, reply, after)) => {
                texts.push(frame.reply(Ok(reply)).into());
                texts.extend(after.into_iter().map(Into::into));
                self.app.metrics.socket(SocketEvent::Joined);
                self.joined.insert(frame.topic, joined);
            }
            Err(error) => texts.push(frame.reply(Err(self.problem(&error))).into()),
        }
        texts
    }

    fn leave(&mut self, frame: &Frame) -> Vec<Arc<str>> {
        let Some(joined) = self.joined.remove(&frame.topic) else {
            return vec![frame.reply(Ok(json!({}))).into()];
        };
        joined.leave(&self.app.hub, &frame.topic, self.place.socket);
        let closed = joined.frame(&frame.topic).push("phx_close", &json!({}));
        vec![frame.reply(Ok(json!({}))).into(), closed.into()]
    }

    async fn asked(&mut self, frame: Frame) -> String {
        let Some(joined) = self.joined.get(&frame.topic) else {
            let error = Error::new("not_found", "join the topic first");
            return frame.reply(Err(self.problem(&error)));
        };
        let (app, caller, joined) = (Arc::clone(&self.app), self.caller.clone(), joined.clone());
        let (asked, socket) = (frame.clone(), self.place.socket);
        let answered = tokio::task::spawn_blocking(move || {
            app.platform.recheck(&caller)?;
            topic::answer(&app, &caller, &joined, &asked, socket)
        });
        let answered = answered.await.unwrap_or_else(|_| Err(Error::new("internal", "a defect")));
        frame.reply(answered.map_err(|error| self.problem(&error)))
    }

    /// Returns a refusal as channels tell it.
    fn problem(&self, error: &Error) -> Json {
        let reason = match &*error.code {
            "insufficient_permissions" | "forbidden" => "insufficient_permissions",
            "no_tenant_context" | "not_found" => "not_found",
            "rate_limit_exceeded" | "quota_exceeded" | "too_many_attempts" => "rate_limited",
            "session_expired" | "invalid_token" | "user_inactive" => "unauthorized",
            _ => "invalid_payload",
        };
        json!({
            "reason": reason,
            "code": error.code,
            "message": error.message,
            "type": "error",
            "timestamp": self.app.platform.now(),
        })
    }
}

/// Feeds whoever follows and the hub from what the engine makes durable.
pub fn feed(app: &Arc<App>) {
    let hub: Arc<Hub> = Arc::clone(&app.hub);
    let (looked, followers) = (Arc::clone(&app.looked), Arc::clone(&app.followers));
    app.engine.listen(Box::new(move |committed| {
        looked.step(committed);
        followers.step(committed);
        hub.step(committed);
    }));
}
