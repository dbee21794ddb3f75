//! The HTTP face: one path per operation, `/health`, `/ledger` and `/behaviour`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    behaviour::{Behaviour, Behaviours, Fate},
    ledger::Ledger,
    operation::{Operation, Refusal},
};

/// The shop: ledger and behaviours.
#[derive(Debug, Default)]
pub struct Service {
    ledger: Mutex<Ledger>,
    behaviours: Mutex<Behaviours>,
    behaviour_changed: Notify,
    /// One lock per key; held while a request of that key is worked on.
    keys: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    keyless: AtomicU64,
}

impl Service {
    /// Makes a shop that goes on with a ledger.
    pub fn new(ledger: Ledger) -> Arc<Service> {
        // Requests without a key get one that no earlier run of this ledger gave out.
        let keyless = AtomicU64::new(ledger.entries().len() as u64);
        Arc::new(Service { ledger: Mutex::new(ledger), keyless, ..Service::default() })
    }

    /// Tells an operation how to behave from now on.
    pub fn set_behaviour(&self, operation: Operation, behaviour: Behaviour) {
        lock(&self.behaviours).set(operation, behaviour);
        self.behaviour_changed.notify_waiters();
    }

    fn key_lock(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(lock(&self.keys).entry(key.to_owned()).or_default())
    }

    async fn perform(
        self: &Arc<Self>,
        operation: Operation,
        key: String,
        request: Value,
    ) -> anyhow::Result<Result<Value, Refusal>> {
        lock(&self.ledger).deliver(&key, operation)?;
        let key_lock = self.key_lock(&key);
        let _turn = key_lock.lock().await;
        if let Some(entry) = lock(&self.ledger).get(&key) {
            if entry.operation != operation.name() {
                let message = format!("key `{key}` belongs to {}", entry.operation);
                return Ok(Err((422, "key_reused", message)));
            }
            if entry.executions > 0 {
                return Ok(Ok(entry.response.clone()));
            }
        }
        if let Err(refusal) = operation.check(&request) {
            return Ok(Err(refusal));
        }
        let wait = match self.fate(operation).await {
            Fate::Refuse(status) => return Ok(Err(refusal(operation, status))),
            Fate::ExecuteThenWait(wait) => Some(wait),
            Fate::Execute | Fate::Hang => None,
        };
        let service = Arc::clone(self);
        // Syncing blocks; and a caller that goes away must not cut it in half.
        let response = tokio::task::spawn_blocking(move || {
            lock(&service.ledger).execute(&key, operation, request)
        })
        .await??;
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
        Ok(Ok(response))
    }

    /// Returns what to do with a request, once it need not hang any longer.
    async fn fate(&self, operation: Operation) -> Fate {
        loop {
            let changed = self.behaviour_changed.notified();
            let fate = lock(&self.behaviours).take(operation);
            if fate != Fate::Hang {
                return fate;
            }
            changed.await;
        }
    }
}

fn refusal(operation: Operation, status: Option<u16>) -> Refusal {
    let (usual, code, message) = operation.refusal();
    match status {
        None => (usual, code, message),
        Some(status) if status == usual => (usual, code, message),
        Some(status) if status >= 500 => (status, "unavailable", message),
        Some(status) => (status, "refused", message),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the routes of a shop.
pub fn router(service: Arc<Service>) -> Router {
    let router = Operation::ALL.into_iter().fold(Router::new(), |router, operation| {
        let handler = move |State(service): State<Arc<Service>>,
                            headers: HeaderMap,
                            Json(request): Json<Value>| {
            answer(service, operation, headers, request)
        };
        router.route(operation.path(), post(handler))
    });
    router
        .route("/health", get(async || Json(json!({ "ok": true }))))
        .route("/ledger", get(show_ledger))
        .route("/behaviour", post(change_behaviour))
        .with_state(service)
}

async fn answer(
    service: Arc<Service>,
    operation: Operation,
    headers: HeaderMap,
    request: Value,
) -> Response {
    let key = match headers.get("idempotency-key").map(|it| it.to_str()) {
        Some(Ok(key)) if !key.is_empty() => key.to_owned(),
        Some(_) => return refused((400, "invalid_key", "unreadable Idempotency-Key".into())),
        None => format!("keyless-{}", service.keyless.fetch_add(1, Ordering::Relaxed)),
    };
    match service.perform(operation, key, request).await {
        Ok(Ok(response)) => Json(response).into_response(),
        Ok(Err(refusal)) => refused(refusal),
        Err(error) => refused((500, "ledger_failed", format!("{error:#}"))),
    }
}

fn refused((status, code, message): Refusal) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

async fn show_ledger(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(json!(lock(&service.ledger).entries()))
}

#[derive(Deserialize)]
struct Change {
    operation: String,
    #[serde(flatten)]
    behaviour: Value,
}

async fn change_behaviour(
    State(service): State<Arc<Service>>,
    Json(change): Json<Change>,
) -> Response {
    let Some(operations) = Operation::named(&change.operation) else {
        let message = format!("`{}` is no operation or group", change.operation);
        return refused((422, "unknown_operation", message));
    };
    let behaviour: Behaviour = match serde_json::from_value(change.behaviour) {
        Ok(behaviour) => behaviour,
        Err(error) => return refused((422, "invalid_request", error.to_string())),
    };
    if behaviour.status.is_some_and(|it| !(100..=599).contains(&it)) {
        return refused((422, "invalid_request", "`status` is no HTTP status".to_owned()));
    }
    for operation in operations {
        service.set_behaviour(operation, behaviour.clone());
    }
    Json(json!({ "ok": true })).into_response()
}
