//! Requests that are answered without a thread of their own: starts, events, and looks at open
//! instances.
//!
//! The engine tells what became of them through a reply function, so however many wait for the log,
//! or for what follows an event, they cost a queue and no thread. Whatever else there is to say (a
//! refusal, an instance that is no longer open) is said by [`super::request`] on a thread that may
//! wait: here nothing was done yet.

use std::sync::Arc;

use serde_json::Value as Json;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use traaviis_api::{
    Access, Op, Operation,
    types::instances::{EventRequest, StartRequest},
};
use traaviis_model::{InstanceId, Snapshot, TenantCtx, Text, Value};
use traaviis_platform::{
    Error,
    ask::{Ask, Until, Wait},
    engine::{Accepted, EventAsk, Reply, StartAsk, Started},
    tenant::Payloads,
};
use traaviis_policy::access::{Action, Freshness};

use super::{Answer, Call, hooks, hooks::Awaited, instances, operating, pace, views};
use crate::{
    App,
    followers::Following,
    idempotency::{self, Turn},
    request::Request,
};

/// Carries a request out; it waits for nothing here but for what the engine tells.
pub(crate) async fn request(
    app: Arc<App>,
    row: &'static Operation,
    request: Request,
) -> Result<Answer, Error> {
    let request = Arc::new(request);
    if row.op == Op::ReceiveHook {
        return knock(app, row, request).await;
    }
    let answered = carried_out(&app, row, &request).await?;
    match row.op {
        Op::Start if request.query.contains_key("wait") => {
            start_and_wait(&app, row, &request, answered).await
        }
        _ => Ok(answered),
    }
}

/// Takes a message, and waits for the end of its instance where the hook answers with that.
async fn knock(
    app: Arc<App>,
    row: &'static Operation,
    request: Arc<Request>,
) -> Result<Answer, Error> {
    let (span, asked) = (tracing::Span::current(), Arc::clone(&app));
    let work = move || span.in_scope(|| super::knock(&asked, row, &request));
    let taken = tokio::task::spawn_blocking(work).await;
    let (answer, awaited) = taken.unwrap_or_else(|error| Err(defect(&error)))?;
    let Some(Awaited { ctx, instance, wait }) = awaited else { return Ok(answer) };
    // It is done whoever waits, so a sender for whose wait there is no room is told that much.
    let Ok(_turn) = app.wait() else { return Ok(answer) };
    match followed(&app, &ctx, instance, &wait).await {
        Ok((snapshot, true)) => hooks::ended(row, &snapshot),
        _ => Ok(answer),
    }
}

async fn carried_out(
    app: &Arc<App>,
    row: &'static Operation,
    request: &Arc<Request>,
) -> Result<Answer, Error> {
    if matches!(row.op, Op::Start | Op::SendEvent | Op::ShowInstance) {
        let answered = match request.idempotency_key {
            None => answer(app, row, request).await,
            // Whoever hangs up must not leave a key behind that nobody will ever answer.
            Some(_) => {
                let (app, request) = (Arc::clone(app), Arc::clone(request));
                let task = tokio::spawn(async move { answer(&app, row, &request).await });
                task.await.unwrap_or_else(|error| Some(Err(defect(&error))))
            }
        };
        if let Some(answered) = answered {
            return answered;
        }
    }
    let span = tracing::Span::current();
    let (app, request) = (Arc::clone(app), Arc::clone(request));
    let work = move || span.in_scope(|| super::request(&app, row, &request));
    let task = tokio::task::spawn_blocking(work);
    task.await.unwrap_or_else(|error| Err(defect(&error)))
}

fn defect(error: &tokio::task::JoinError) -> Error {
    Error::new("internal", error.to_string())
}

/// Answers, or leaves it to a thread.
async fn answer(
    app: &Arc<App>,
    row: &'static Operation,
    request: &Request,
) -> Option<Result<Answer, Error>> {
    let call = match open(app, row, request)? {
        Ok(call) => call,
        Err(refused) => return Some(Err(refused)),
    };
    let Some(key) = call.key().cloned() else { return carry_out(&call).await };
    // Keys and answers rest on a disk.
    let (asked, entered, known) = (Arc::clone(app), call.entered.clone(), key.clone());
    let begun = move || idempotency::begin(&asked, row, entered.as_ref(), &known);
    match tokio::task::spawn_blocking(begun).await {
        Err(error) => Some(Err(defect(&error))),
        Ok(Err(error)) => Some(Err(error)),
        Ok(Ok(Turn::Again(answer))) => Some(Ok(answer)),
        // The instance is looked up.
        Ok(Ok(Turn::Done(_))) => None,
        Ok(Ok(Turn::First)) => {
            let answered = carry_out(&call).await;
            let answer = answered.as_ref().and_then(|it| it.as_ref().ok()).cloned();
            let (asked, entered) = (Arc::clone(app), call.entered.clone());
            let ended = move || idempotency::end(&asked, entered.as_ref(), &key, answer.as_ref());
            match tokio::task::spawn_blocking(ended).await {
                Ok(()) => answered,
                Err(error) => Some(Err(defect(&error))),
            }
        }
    }
}

/// Finds out who asks and lets them in, if they may and have not asked too often.
fn open<'a>(
    app: &'a App,
    row: &'static Operation,
    request: &'a Request,
) -> Option<Result<Call<'a>, Error>> {
    let via = request.via();
    if let Err(refused) = operating::admit(app, row) {
        return Some(Err(refused));
    }
    let mut caller = app.platform.authenticate(request.token()?, via.clone()).ok()?;
    match idempotency::key_of(app, row, request, &caller) {
        Ok(key) => caller.via.request_key = key,
        Err(refused) => return Some(Err(refused)),
    }
    let Access::Needs(permission) = row.access else { return None };
    if request.names_tenant() {
        // A second name is compared where it may be refused.
        return None;
    }
    let tenant = app.platform.resolve_at_once(&caller, request.part("t"))?;
    tracing::Span::current().record("tenant_id", tracing::field::display(tenant));
    if !request.is_paced()
        && let Err(refused) = pace::caller(app, row, request, &caller)
    {
        return Some(Err(refused));
    }
    let action = Action::Needs(permission);
    let entered = app.platform.enter_at_once(&caller, tenant, action, Freshness::Any)?;
    super::not_deleted(app, row, request, tenant).ok()?;
    let (caller, entered) = (Some(caller), Some(entered));
    Some(Ok(Call { app, row, request, via, caller, entered }))
}

async fn carry_out(call: &Call<'_>) -> Option<Result<Answer, Error>> {
    // A thread says what is wrong with it.
    call.request.check_query(call.row).ok()?;
    let answered = match call.row.op {
        Op::Start => start(call).await,
        Op::SendEvent => send(call).await,
        Op::ShowInstance => show(call).await,
        _ => None,
    };
    // What is left to a thread is counted there.
    if answered.is_some() {
        call.count();
    }
    answered
}

/// Asks the engine something; what it replies is [`heard`].
fn asked<T: Send + 'static>(ask: impl FnOnce(Reply<T>)) -> oneshot::Receiver<Result<T, Error>> {
    let (sender, receiver) = oneshot::channel();
    ask(Box::new(move |it| {
        // Whoever asked may have hung up.
        let _ = sender.send(it);
    }));
    receiver
}

/// Waits for the reply of the engine.
async fn heard<T>(reply: oneshot::Receiver<Result<T, Error>>) -> Result<T, Error> {
    let stopping = |_| Err(Error::new("stopping", "the process is stopping; try again"));
    reply.await.unwrap_or_else(stopping)
}

/// Asks on a thread that may wait for the disk.
async fn looked_up(app: &App, ctx: &TenantCtx, ask: Ask) -> Result<Json, Error> {
    let (engine, ctx) = (Arc::clone(&app.engine), ctx.clone());
    let task = tokio::task::spawn_blocking(move || engine.ask(&ctx, ask));
    task.await.unwrap_or_else(|error| Err(defect(&error)))
}

async fn start(call: &Call<'_>) -> Option<Result<Answer, Error>> {
    let StartRequest { workflow, version, input, id: None, tags, correlation } =
        call.request.json().ok()?
    else {
        // Whether there was such an instance may stand in the log.
        return None;
    };
    // What cannot be waited for is told before anything is started.
    instances::wait(call).ok()?;
    let entered = call.entered.as_ref()?;
    let found = call.platform().find_version(entered, &workflow, version.as_deref()).ok()?;
    if !call.engine().knows(&found.hash) {
        return None;
    }
    let platform = call.platform();
    let document = || platform.document(&entered.ctx, &workflow, &found.version);
    let start = StartAsk {
        hash: &found.hash,
        document: &document,
        id: None,
        input: if input.is_null() { Value::empty_map() } else { Value::from(&input) },
        tags: tags.into_iter().map(Text::from).collect(),
        correlation: instances::correlation_of(correlation).ok()?,
    };
    // Held until the instance is in the log, where it is counted.
    let _place = match platform.admit_start(entered) {
        Ok(place) => place,
        Err(refused) => return Some(Err(refused)),
    };
    let reply = asked(|reply| call.engine().start_then(&entered.ctx, start, reply));
    let started = heard(reply).await;
    Some(started.and_then(|it| views::born(call, &it, None)))
}

async fn show(call: &Call<'_>) -> Option<Result<Answer, Error>> {
    if !call.request.query.is_empty() {
        // Whoever sees personal data unmasked leaves a trace of it.
        return None;
    }
    let entered = call.entered.as_ref()?;
    let id: InstanceId = call.request.id("id", "instance").ok()?;
    let (looked, key) = (&call.app.looked, (entered.ctx.tenant(), id));
    let sees_all = entered.data_access.payloads == Payloads::Full;
    let snapshot = match looked.get(key) {
        Some((_, Some(body))) if sees_all => return Some(Ok(call.written(&body))),
        Some((snapshot, _)) => snapshot,
        None => {
            let number = looked.asks(key);
            let reply = asked(|reply| call.engine().find_then(&entered.ctx, id, reply));
            let snapshot = match heard(reply).await {
                Ok(Some(found)) => found,
                Ok(None) => {
                    looked.forget(key);
                    return None;
                }
                Err(error) => return Some(Err(error)),
            };
            looked.keep(key, number, &snapshot);
            snapshot
        }
    };
    let answer = views::shown(call, &snapshot);
    if let (Ok(answer), true) = (&answer, sees_all) {
        looked.keep_body(key, &snapshot, &answer.body);
    }
    Some(answer)
}

async fn send(call: &Call<'_>) -> Option<Result<Answer, Error>> {
    let ctx = &call.entered.as_ref()?.ctx;
    let id: InstanceId = call.request.id("id", "instance").ok()?;
    let EventRequest { event, data, id: event_id, if_seq } = call.request.json().ok()?;
    let wait = instances::wait(call).ok()?;
    let event = EventAsk {
        id,
        event: event.into(),
        data: Value::from(&data),
        event_id: event_id.map(Text::from),
        if_seq,
    };
    let sent = match &wait {
        None => heard(asked(|reply| call.engine().send_then(ctx, event, reply)))
            .await
            .and_then(|accepted| views::taken(call, &accepted, &accepted.snapshot, None)),
        Some(wait) => send_and_wait(call, event, wait).await,
    };
    match sent {
        // It may have ended, or be archived, which the log knows.
        Err(error) if error.code == "not_found" => None,
        sent => Some(sent),
    }
}

/// Refuses a state that the workflow of an instance does not have.
async fn needs_state(call: &Call<'_>, id: InstanceId, path: &Text) -> Result<(), Error> {
    let ctx = &call.entered()?.ctx;
    let open = heard(asked(|reply| call.engine().find_then(ctx, id, reply))).await?;
    let hash = open.map(|it| it.definition_hash.to_string());
    if hash.and_then(|it| call.engine().has_state(&it, path)) == Some(true) {
        return Ok(());
    }
    let (id, path) = (id.to_string(), path.clone());
    looked_up(call.app, ctx, Ask::NeedsState { id, path }).await.map(drop)
}

async fn send_and_wait(call: &Call<'_>, event: EventAsk, wait: &Wait) -> Result<Answer, Error> {
    let (app, id) = (call.app, event.id);
    let ctx = &call.entered()?.ctx;
    let _turn = app.wait()?;
    if let Until::State(path) = &wait.until {
        needs_state(call, id, path).await?;
    }
    let end = Instant::now() + wait.timeout();
    // Followed first, so that no step falls between the event and the wait.
    let following = app.followers.follow(ctx.tenant(), id);
    let reply = asked(|reply| call.engine().send_then(ctx, event, reply));
    let accepted: Accepted = heard(reply).await?;
    let snapshot = Arc::clone(&accepted.snapshot);
    let (snapshot, is_met) = until((app, ctx), wait, end, (id, following), snapshot).await?;
    views::taken(call, &accepted, &snapshot, Some((&wait.until, is_met)))
}

/// Waits for what follows a start, if its caller asks for it; whatever way it was started.
async fn start_and_wait(
    app: &App,
    row: &'static Operation,
    request: &Request,
    born: Answer,
) -> Result<Answer, Error> {
    let Some(Ok(call)) = open(app, row, request) else { return Ok(born) };
    let Some(wait) = instances::wait(&call)? else { return Ok(born) };
    let told: Json = serde_json::from_slice(&born.body).unwrap_or_default();
    let id = told["id"].as_str().and_then(|it| it.parse().ok());
    let Some(id): Option<InstanceId> = id else { return Ok(born) };
    let ctx = &call.entered()?.ctx;
    let _turn = app.wait()?;
    if let Until::State(path) = &wait.until {
        needs_state(&call, id, path).await?;
    }
    let (snapshot, is_met) = followed(app, ctx, id, &wait).await?;
    let existing = told["existing"] == true;
    views::born(&call, &Started { id, existing, snapshot }, Some((&wait.until, is_met)))
}

/// Waits for what an instance comes to, whether it is open still or has ended already.
async fn followed(
    app: &App,
    ctx: &TenantCtx,
    id: InstanceId,
    wait: &Wait,
) -> Result<(Arc<Snapshot>, bool), Error> {
    let end = Instant::now() + wait.timeout();
    // Followed first, so that no step falls between the look and the wait.
    let following = app.followers.follow(ctx.tenant(), id);
    let open = heard(asked(|reply| app.engine.find_then(ctx, id, reply))).await?;
    let snapshot = match open {
        Some(snapshot) => snapshot,
        None => looked_at(app, ctx, id).await?,
    };
    until((app, ctx), wait, end, (id, following), snapshot).await
}

/// Returns an instance as it is.
async fn looked_at(app: &App, ctx: &TenantCtx, id: InstanceId) -> Result<Arc<Snapshot>, Error> {
    let now = looked_up(app, ctx, Ask::Show { id: id.to_string() }).await?;
    let now = serde_json::from_value(now["snapshot"].clone());
    now.map(Arc::new).map_err(|error| Error::new("internal", error.to_string()))
}

/// Waits until an instance is as its caller wants it, or has ended, or the time is over; says how
/// it is then, and whether it is as was wanted.
async fn until(
    (app, ctx): (&App, &TenantCtx),
    wait: &Wait,
    end: Instant,
    (id, mut following): (InstanceId, Following),
    mut snapshot: Arc<Snapshot>,
) -> Result<(Arc<Snapshot>, bool), Error> {
    loop {
        let is_met = wait.until.is_met(&snapshot);
        if is_met || snapshot.status.is_finished() {
            return Ok((snapshot, is_met));
        }
        match timeout_at(end, following.next()).await {
            Ok(Some(step)) if step.snapshot.seq > snapshot.seq => {
                snapshot = Arc::clone(&step.snapshot);
            }
            Ok(Some(_)) => {}
            Err(_) => return Ok((snapshot, false)),
            // Too slow: follow again, then look again.
            Ok(None) => {
                following = app.followers.follow(ctx.tenant(), id);
                snapshot = looked_at(app, ctx, id).await?;
            }
        }
    }
}
