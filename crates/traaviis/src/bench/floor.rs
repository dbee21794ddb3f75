//! The server that every other one is compared with: it answers at once, or when what it was told
//! to write is in the bare log, which many requests share as ours do.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;
use traaviis_model::{InstanceId, TenantCtx};
use traaviis_ports::{Append, Commit, CommitSink, LogStore};
use traaviis_server::Front;
use uuid::Uuid;

use crate::{data::open_log, exit::Exit, output::Output};

/// What a request writes: so many commits, one after the other.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Load {
    commits: u64,
    /// Records of each commit.
    records: u64,
    /// Bytes of each record.
    bytes: usize,
}

struct Floor {
    log: Arc<dyn LogStore>,
    sink: Arc<Waiting>,
    token: AtomicU64,
}

/// Who waits for which commit.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Commit>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Commit>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CommitSink for Waiting {
    fn committed(&self, outcomes: &mut dyn Iterator<Item = (u64, Commit)>) {
        let mut waiting = self.lock();
        for (token, commit) in outcomes {
            if let Some(sender) = waiting.remove(&token) {
                // Whoever waited may have gone.
                let _ = sender.send(commit);
            }
        }
    }
}

/// In a child: serves until its input ends.
pub fn serve(dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    fs::create_dir_all(dir)?;
    let (log, _) = open_log(dir)?;
    let log: Arc<dyn LogStore> = log;
    let floor = Floor { log, sink: Arc::default(), token: AtomicU64::new(0) };
    let routes = Router::new()
        .route("/hello", get(|| async { r#"{"status":"ok"}"# }))
        .route("/append", post(append))
        .with_state(Arc::new(floor));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let listening = runtime.block_on(traaviis_server::listen(address, Front::bare(routes)))?;
    output.json(&json!({ "listening": listening.address, "pid": std::process::id() }));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    runtime.block_on(listening.end());
    Ok(Exit::Ok)
}

async fn append(
    State(floor): State<Arc<Floor>>,
    Query(load): Query<Load>,
    body: String,
) -> (StatusCode, String) {
    let ctx = TenantCtx::local_operator();
    let stream = InstanceId(Uuid::now_v7());
    for commit in 0..load.commits {
        let first_seq = commit * load.records + 1;
        let mut lines = String::with_capacity(load.bytes * load.records as usize);
        for seq in first_seq..first_seq + load.records {
            let end = lines.len() + load.bytes;
            let tenant = ctx.tenant();
            // Writing to memory cannot fail.
            let _ = write!(
                lines,
                r#"{{"tenant_id":"{tenant}","instance_id":"{stream}","seq":{seq},"x":""#
            );
            while lines.len() + 3 < end {
                lines.push('x');
            }
            lines.push_str("\"}\n");
        }
        let token = floor.token.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        floor.sink.lock().insert(token, sender);
        let append = Append {
            stream,
            first_seq,
            count: load.records as u32,
            lines: lines.into_bytes().into(),
            ends_stream: commit + 1 == load.commits,
            known_to: 0,
            subject: None,
        };
        let sink: Arc<dyn CommitSink> = Arc::clone(&floor.sink) as Arc<_>;
        floor.log.append(&ctx, append, &sink, token);
        match receiver.await {
            Ok(Ok(_)) => {}
            told => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{told:?}")),
        }
    }
    (StatusCode::CREATED, body)
}
