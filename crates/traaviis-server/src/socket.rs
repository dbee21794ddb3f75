//! Sockets: the Phoenix Channels protocol, version 2, which clients in many languages speak.
//!
//! A socket belongs to a caller, who is looked up again for every message and whenever their rights
//! may have changed: a session that ended, and a tenant that somebody is no member of any more,
//! close the socket; a right that ended, its topics. What is asked for on a topic is carried out as
//! the operation of the table that it stands for, so no right is decided here.
//!
//! ```text
//! frame -> conversation -> topic -> operation -> reply
//! durable step, change of documents -> hub -> outbox -> conversation -> frame
//! ```
//!
//! Nobody waits for a client: what is told to one waits in its outbox, and a client that does not
//! keep up is closed.
//!
//! Reading order: [`limits`], [`frame`], [`outbox`], `changes`, [`only`], [`hub`], `news`, `topic`,
//! `asked`.

mod asked;
mod changes;
pub mod frame;
pub mod hub;
pub mod limits;
mod news;
pub mod only;
pub mod outbox;
mod topic;

use std::{
    collections::BTreeMap,
    error::Error as _,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::{
        ConnectInfo, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, rejection::WebSocketUpgradeRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value as Json, json};
use tokio::{
    sync::watch,
    time::{sleep_until, timeout},
};
use traaviis_platform::{Caller, Error, audit::Via, usage::OpenSocket};
use traaviis_policy::access::{Action, Freshness};

use crate::{App, listen::Ends, metrics::SocketEvent, request::bearer, routes};
use frame::{Frame, broadcast};
use hub::{Full, Hub, Owner, Place};
use limits::{
    FAREWELL, FLOOD_MESSAGES, FRAME_BYTES_MAX, MESSAGES_MAX, READ_BYTES, REPLY_BYTES_MAX,
    TOPICS_MAX,
};
use news::Touched;
use outbox::Outbox;
use topic::{Joined, Welcome};

/// How the token stands among subprotocols.
const BEARER: &str = "base64url.bearer.phx.";
/// The subprotocol that is agreed on.
const PHOENIX: &str = "phoenix";

/// Opens a socket for who shows a token: as parameter `token` or `ticket`, or among the
/// subprotocols.
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    from: Option<Extension<ConnectInfo<SocketAddr>>>,
    ends: Option<Extension<Ends>>,
    headers: HeaderMap,
    request: axum::extract::RawQuery,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => {
            let message = format!("here one opens a WebSocket: {}", refused.body_text());
            let id = uuid::Uuid::now_v7().to_string();
            return routes::refuse(&Error::new("bad_request", message), "/socket/websocket", &id);
        }
    };
    let query = routes::query(request.0.as_deref().unwrap_or_default());
    let refuse = |status: StatusCode| {
        app.metrics.socket(SocketEvent::Refused);
        status.into_response()
    };
    if !is_own_origin(&headers) {
        return refuse(StatusCode::FORBIDDEN);
    }
    let from = routes::caller_of(&app, from, &headers);
    let Ok(Some(caller)) = recognise(&app, from.as_deref(), &headers, &query).await else {
        return refuse(StatusCode::FORBIDDEN);
    };
    let place = match app.hub.enter(Owner::of(&caller), &app.sockets) {
        Ok(place) => place,
        Err(Full::Server) => return refuse(StatusCode::SERVICE_UNAVAILABLE),
        Err(Full::Owner) => return refuse(StatusCode::TOO_MANY_REQUESTS),
    };
    app.metrics.socket(SocketEvent::Opened);
    news::begin(&app);
    let ends = ends.map(|Extension(Ends(ends))| ends);
    upgrade
        .protocols([PHOENIX])
        // Twice as much, so that a frame that is too large is read, and its sender told so.
        .max_message_size(2 * FRAME_BYTES_MAX)
        .max_frame_size(2 * FRAME_BYTES_MAX)
        .read_buffer_size(READ_BYTES)
        // What is said is written at once, and one message at a time.
        .write_buffer_size(0)
        .on_upgrade(move |socket| Conversation::of(app, caller, place, ends).run(socket))
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
    /// Shared with the threads that carry out what it asks for.
    caller: Arc<Caller>,
    place: Place,
    /// Topics, of which most sockets have one or two.
    joined: Vec<(Box<str>, Joined)>,
    /// Tenants of these topics, each counted as an open socket.
    counted: Vec<OpenSocket>,
    outbox: Arc<Outbox>,
    heard_at: Instant,
    /// Second that is counted, and messages in it.
    pace: (Instant, u32),
    rights: watch::Receiver<Arc<Touched>>,
    /// How often rights had changed when they were last looked at; never before that.
    seen: Option<u64>,
    looked_at: Instant,
    /// When the token ends that it was opened with, if that is before its session.
    until: Option<Instant>,
    /// Told when the server ends.
    ends: Option<watch::Receiver<bool>>,
}

/// Why a conversation ends.
enum End {
    Gone,
    /// The client has said goodbye.
    Left,
    Closed(u16, &'static str),
}

/// What happens next.
enum Next {
    Heard(Option<Result<Message, axum::Error>>),
    Told(Option<Utf8Bytes>),
    RightsChanged,
    TimeIsUp,
    ServerEnds,
}

impl Conversation {
    fn of(
        app: Arc<App>,
        caller: Caller,
        place: Place,
        ends: Option<watch::Receiver<bool>>,
    ) -> Conversation {
        let (outbox, now) = (app.hub.outbox(), Instant::now());
        let mut rights = app.hub.news.rights();
        // Looked at once at the beginning: what has changed since the token was looked at, and
        // before this listened, is not known.
        rights.mark_changed();
        let left = caller.until().map(|it| it.since(app.platform.now()).as_millis().max(0));
        // A moment later, so that it has ended when it is looked at.
        let until = left.map(|it| now + Duration::from_millis(it.unsigned_abs() + 1));
        Conversation {
            app,
            caller: Arc::new(caller),
            place,
            joined: Vec::new(),
            counted: Vec::new(),
            outbox,
            heard_at: now,
            pace: (now, 0),
            rights,
            seen: None,
            looked_at: now,
            until,
            ends,
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let end = self.until_over(&mut socket).await;
        for (_, joined) in std::mem::take(&mut self.joined) {
            joined.leave(&self.app.hub, &self.caller, self.place.socket);
        }
        if matches!(end, End::Left) {
            // The answer to a goodbye goes out with the next look; without it, clients take the end
            // for a broken line, and come again.
            let _ = timeout(FAREWELL, socket.recv()).await;
        }
        if let End::Closed(code, reason) = end {
            if code == CODE_SLOW {
                self.app.metrics.socket(SocketEvent::TooSlow);
            }
            let frame = CloseFrame { code, reason: reason.into() };
            let farewell = async {
                let said = socket.send(Message::Close(Some(frame))).await;
                // What a client has sent and nobody has read would take the farewell with it.
                while said.is_ok() && IS_UNREAD.contains(&code) {
                    let Some(Ok(_)) = socket.recv().await else { return };
                }
            };
            // Whoever is gone, or does not read, needs no farewell.
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    async fn until_over(&mut self, socket: &mut WebSocket) -> End {
        loop {
            let next = self.next(socket).await;
            let done = match next {
                Next::Heard(Some(Ok(Message::Text(text)))) if text.len() > FRAME_BYTES_MAX => {
                    Err(TOO_LARGE)
                }
                Next::Heard(Some(Ok(Message::Text(text)))) => {
                    // In a box of its own, so that a socket at rest does not have room for it.
                    Box::pin(self.heard(socket, text.as_str())).await
                }
                Next::Heard(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {
                    self.counted().map(drop)
                }
                Next::Heard(Some(Ok(Message::Binary(_)))) => {
                    Err(End::Closed(1003, "text frames only"))
                }
                Next::Heard(Some(Ok(Message::Close(_)))) => Err(End::Left),
                Next::Heard(None) => Err(End::Gone),
                Next::Heard(Some(Err(error))) => Err(broken(&error)),
                Next::Told(Some(text)) => self.say(socket, text).await,
                Next::Told(None) => Err(SLOW),
                Next::RightsChanged => Box::pin(self.look(socket)).await,
                Next::TimeIsUp => Box::pin(self.look_after_silence(socket)).await,
                Next::ServerEnds => Err(End::Closed(1001, "the server ends")),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn next(&mut self, socket: &mut WebSocket) -> Next {
        let (outbox, ends) = (&self.outbox, &mut self.ends);
        let due = self.heard_at.min(self.looked_at) + self.app.sockets.silence;
        let due = self.until.map_or(due, |it| it.min(due));
        tokio::select! {
            message = socket.recv() => Next::Heard(message),
            text = outbox.next() => Next::Told(text),
            _ = self.rights.changed() => Next::RightsChanged,
            () = ended(ends) => Next::ServerEnds,
            () = sleep_until(due.into()) => Next::TimeIsUp,
        }
    }

    /// Says something. A client that does not read is not waited for beyond what its queue and its
    /// rights allow.
    async fn say(&mut self, socket: &mut WebSocket, text: Utf8Bytes) -> Result<(), End> {
        let outbox = Arc::clone(&self.outbox);
        let due = Instant::now() + self.app.sockets.silence;
        let sent = socket.send(Message::Text(text));
        tokio::pin!(sent);
        loop {
            tokio::select! {
                sent = &mut sent => return sent.map_err(|_| End::Gone),
                () = outbox.overflows() => return Err(SLOW),
                () = ended(&mut self.ends) => return Err(End::Closed(1001, "the server ends")),
                () = sleep_until(due.into()) => return Err(SLOW),
                _ = self.rights.changed() => {
                    let touched = Arc::clone(&self.rights.borrow_and_update());
                    let tenants = self.joined.iter().filter_map(|it| it.1.topic.tenant());
                    let is_concerned = touched.concerns(&mut self.seen, &self.caller, tenants);
                    if is_concerned && self.app.platform.recheck(&self.caller).is_err() {
                        return Err(SESSION_ENDED);
                    }
                    // Its topics are looked at once this is said.
                    if is_concerned {
                        self.seen = None;
                        self.rights.mark_changed();
                    }
                }
            }
        }
    }

    /// Looks whether the caller is still one, if that may have changed.
    async fn look(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        let touched = Arc::clone(&self.rights.borrow_and_update());
        let tenants = self.joined.iter().filter_map(|it| it.1.topic.tenant());
        match touched.concerns(&mut self.seen, &self.caller, tenants) {
            true => self.look_at_all(socket).await,
            false => Ok(()),
        }
    }

    /// Looks at everything from time to time, since sessions and keys also end by themselves.
    async fn look_after_silence(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        if self.heard_at.elapsed() >= self.app.sockets.silence {
            return Err(End::Closed(1000, "silent for too long"));
        }
        self.look_at_all(socket).await
    }

    /// Looks whether the caller is still one, and may still hear what they hear.
    async fn look_at_all(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        self.looked_at = Instant::now();
        // Looked at once for that; a clock that was set back must not be waited for by looking.
        self.until = self.until.filter(|it| *it > self.looked_at);
        if let Err(code) = self.stands() {
            let topic = format!("user_activity:{}", self.caller.user);
            let told = json!({ "reason": code });
            self.say(socket, broadcast(&topic, "session:revoked", &told).into()).await?;
            return Err(SESSION_ENDED);
        }
        let (app, caller) = (Arc::clone(&self.app), Arc::clone(&self.caller));
        let mut gone = Vec::new();
        self.joined.retain(|(_, joined)| {
            let sees = topic::sees(&app, &caller, &joined.topic);
            match sees {
                Some(sees) => app.hub.shows(&joined.topic, self.place.socket, sees),
                None => gone.push(joined.clone()),
            }
            sees.is_some()
        });
        self.count_tenants();
        let told = json!({ "reason": "unauthorized" });
        for joined in gone {
            joined.leave(&app.hub, &caller, self.place.socket);
            self.say(socket, joined.frame().push("phx_close", &told).into()).await?;
        }
        let blind = self.joined.iter().filter(|it| !topic::may_watch(&app, &caller, &it.1.topic));
        let ended: Vec<Joined> = blind
            .filter(|it| {
                it.1.topic
                    .tenant()
                    .is_some_and(|tenant| app.hub.watch_no_more(tenant, self.place.socket))
            })
            .map(|it| it.1.clone())
            .collect();
        for joined in ended {
            let text = joined.frame().push("monitoring:closed", &told);
            self.say(socket, text.into()).await?;
        }
        Ok(())
    }

    /// Says whether the caller is still one, and in the tenant that their token is for.
    fn stands(&self) -> Result<(), String> {
        let (platform, caller) = (&self.app.platform, &self.caller);
        platform.recheck(caller).map_err(|it| it.code.to_string())?;
        let Some(tenant) = caller.scoped_to else { return Ok(()) };
        let entered = platform.enter_at_once(caller, tenant, Action::TenantAccess, Freshness::Any);
        entered.map(drop).ok_or_else(|| "no_tenant_context".to_owned())
    }

    /// Counts a message; returns how many there were within this second.
    fn counted(&mut self) -> Result<u32, End> {
        let now = Instant::now();
        self.heard_at = now;
        if now.duration_since(self.pace.0) >= Duration::from_secs(1) {
            self.pace = (now, 0);
        }
        self.pace.1 += 1;
        match self.pace.1 > FLOOD_MESSAGES {
            true => Err(End::Closed(1008, "too many messages")),
            false => Ok(self.pace.1),
        }
    }

    /// Takes a message of the client.
    async fn heard(&mut self, socket: &mut WebSocket, text: &str) -> Result<(), End> {
        let count = self.counted()?;
        let frame = Frame::read(text).ok_or(End::Closed(1002, "no frame of the protocol"))?;
        if count > MESSAGES_MAX {
            let message = format!("at most {MESSAGES_MAX} messages a second");
            let error = Error::new("rate_limit_exceeded", message);
            return self.refuse(socket, &frame, &error).await;
        }
        match (&*frame.topic, &*frame.event) {
            ("phoenix", "heartbeat") => self.say(socket, frame.reply(Ok(json!({}))).into()).await,
            (_, "phx_join") => self.join(socket, frame).await,
            (_, "phx_leave") => self.leave(socket, &frame).await,
            _ => self.asked(socket, frame).await,
        }
    }

    async fn join(&mut self, socket: &mut WebSocket, frame: Frame) -> Result<(), End> {
        if let Some(before) = self.take(&frame.topic) {
            self.say(socket, before.frame().push("phx_close", &json!({})).into()).await?;
        }
        if self.joined.len() >= TOPICS_MAX {
            let message = format!("a socket hears at most {TOPICS_MAX} topics");
            let error = Error::new("quota_exceeded", message);
            return self.refuse(socket, &frame, &error).await;
        }
        let (asked, mine) = (frame.clone(), (self.place.socket, Arc::clone(&self.outbox)));
        let joined = self.carry_out(move |app, it| topic::join(app, it, &asked, mine)).await;
        let Welcome { joined, reply, after, replay } = match joined {
            Ok(welcome) => welcome,
            Err(error) => return self.refuse(socket, &frame, &error).await,
        };
        self.app.metrics.socket(SocketEvent::Joined);
        self.joined.push((frame.topic.as_str().into(), joined.clone()));
        self.count_tenants();
        self.reply(socket, &frame, reply).await?;
        for text in after {
            self.say(socket, text).await?;
        }
        // Heard before it is read, so nothing is missing; what came meanwhile may come twice, and
        // is known by its number.
        let mut from = replay;
        while let Some(after) = from {
            let of = joined.clone();
            let page = self.carry_out(move |app, it| topic::replay(app, it, &of, after)).await;
            let (texts, next) = page.unwrap_or_default();
            for text in texts {
                self.say(socket, text).await?;
            }
            from = next;
        }
        Ok(())
    }

    async fn leave(&mut self, socket: &mut WebSocket, frame: &Frame) -> Result<(), End> {
        let joined = self.take(&frame.topic);
        self.say(socket, frame.reply(Ok(json!({}))).into()).await?;
        match joined {
            Some(it) => self.say(socket, it.frame().push("phx_close", &json!({})).into()).await,
            None => Ok(()),
        }
    }

    /// Takes the socket off a topic.
    fn take(&mut self, topic: &str) -> Option<Joined> {
        let at = self.joined.iter().position(|it| &*it.0 == topic)?;
        let (_, joined) = self.joined.swap_remove(at);
        joined.leave(&self.app.hub, &self.caller, self.place.socket);
        self.count_tenants();
        Some(joined)
    }

    /// Counts this socket for each tenant of which it hears a topic.
    fn count_tenants(&mut self) {
        let joined = &self.joined;
        let hears = |tenant| joined.iter().any(|it| it.1.topic.tenant() == Some(tenant));
        self.counted.retain(|it| hears(it.tenant()));
        for tenant in joined.iter().filter_map(|it| it.1.topic.tenant()) {
            if !self.counted.iter().any(|it| it.tenant() == tenant) {
                self.counted.push(OpenSocket::of(&self.app.platform, tenant));
            }
        }
    }

    async fn asked(&mut self, socket: &mut WebSocket, frame: Frame) -> Result<(), End> {
        let joined = self.joined.iter().find(|it| *it.0 == *frame.topic);
        let Some(topic) = joined.map(|it| it.1.topic) else {
            let error = Error::new("not_found", "join the topic first");
            return self.refuse(socket, &frame, &error).await;
        };
        let (asked, number) = (frame.clone(), self.place.socket);
        let answered = self.carry_out(move |app, caller| {
            app.platform.recheck(caller)?;
            asked::answer(app, caller, topic, &asked, number)
        });
        match answered.await {
            Ok(reply) => self.reply(socket, &frame, reply).await,
            Err(error) => self.refuse(socket, &frame, &error).await,
        }
    }

    /// Does something that may wait for disks, on a thread for that.
    async fn carry_out<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App, &Caller) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (app, caller) = (Arc::clone(&self.app), Arc::clone(&self.caller));
        let done = tokio::task::spawn_blocking(move || work(&app, &caller)).await;
        done.unwrap_or_else(|_| Err(Error::new("internal", "a defect of this server")))
    }

    async fn reply(
        &mut self,
        socket: &mut WebSocket,
        frame: &Frame,
        reply: Json,
    ) -> Result<(), End> {
        let text = frame.reply(Ok(reply));
        if text.len() > REPLY_BYTES_MAX {
            let message = format!(
                "the answer has {} bytes, and a reply at most {REPLY_BYTES_MAX}; ask for it over \
                 HTTP",
                text.len()
            );
            let error = Error::new("payload_too_large", message);
            return self.refuse(socket, frame, &error).await;
        }
        self.say(socket, text.into()).await
    }

    async fn refuse(
        &mut self,
        socket: &mut WebSocket,
        frame: &Frame,
        error: &Error,
    ) -> Result<(), End> {
        let text = frame.reply(Err(self.problem(error)));
        self.say(socket, text.into()).await
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

/// Code with which a client that does not keep up is closed.
const CODE_SLOW: u16 = 1013;
/// Codes with which a client is closed that may have sent more than was read.
const IS_UNREAD: [u16; 4] = [1002, 1003, 1008, 1009];
const TOO_LARGE: End = End::Closed(1009, "a frame has at most 64 KiB");
const SLOW: End = End::Closed(CODE_SLOW, "too slow; read anew");
const SESSION_ENDED: End = End::Closed(4001, "the session has ended");

/// Waits until the server ends.
async fn ended(ends: &mut Option<watch::Receiver<bool>>) {
    match ends {
        Some(ends) => drop(ends.changed().await),
        None => std::future::pending().await,
    }
}

/// Says how a connection ends that the library cannot read any more.
fn broken(error: &axum::Error) -> End {
    let inner = error.source().map(ToString::to_string).unwrap_or_default();
    match inner.starts_with("Space limit exceeded") {
        true => TOO_LARGE,
        false => End::Gone,
    }
}

/// Feeds whoever follows and the hub from what the engine makes durable, and from what changes in
/// documents.
pub fn feed(app: &Arc<App>) {
    let hub: Arc<Hub> = Arc::clone(&app.hub);
    let (looked, followers) = (Arc::clone(&app.looked), Arc::clone(&app.followers));
    app.engine.listen(Box::new(move |committed| {
        looked.step(committed);
        followers.step(committed);
        hub.step(committed);
    }));
    let hub: Arc<Hub> = Arc::clone(&app.hub);
    app.platform.listen(Box::new(move |tenant, puts, entries| {
        // Most of the time there is nobody to tell.
        if hub.count() > 0 {
            hub.news.note(tenant, puts, entries);
        }
    }));
}
