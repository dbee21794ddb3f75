//! Runs the shop backend: `order-service --listen 127.0.0.1:8099 --ledger ledger.jsonl`.

use std::{io::Write, net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use clap::Parser;
use order_service::{Behaviour, Ledger, Mode, Operation, Service, router};

/// A shop backend that honours Idempotency-Key and misbehaves on demand.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// Where to listen; port 0 takes any free port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8099")]
    listen: SocketAddr,
    /// File that keeps the executions over restarts; in memory unless given.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Refuses an operation such as `shipping.book`, or a group such as `shipping`.
    #[arg(long, value_name = "OP")]
    fail: Vec<String>,
    /// Executes an operation at once and answers after so many milliseconds.
    #[arg(long, value_name = "OP=MS")]
    slow: Vec<String>,
    /// Never answers an operation, and does not execute it.
    #[arg(long, value_name = "OP")]
    hang: Vec<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let ledger = match &flags.ledger {
        Some(path) => Ledger::open(path)?,
        None => Ledger::default(),
    };
    let service = Service::new(ledger);
    let set = |name: &str, mode: Mode, delay_ms: Option<u64>| {
        let Some(operations) = Operation::named(name) else {
            let names = Operation::ALL.map(Operation::name).join(", ");
            bail!("`{name}` is no operation; use one of {names}, or inventory, payment, shipping");
        };
        for operation in operations {
            service.set_behaviour(operation, Behaviour { mode, delay_ms, ..Behaviour::default() });
        }
        Ok(())
    };
    for name in &flags.fail {
        set(name, Mode::Fail, None)?;
    }
    for name in &flags.hang {
        set(name, Mode::Hang, None)?;
    }
    for text in &flags.slow {
        let (name, delay) = text.split_once('=').context("--slow takes OPERATION=MILLISECONDS")?;
        let delay = delay.parse().with_context(|| format!("`{delay}` is not milliseconds"))?;
        set(name, Mode::Slow, Some(delay))?;
    }
    let listener = tokio::net::TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("cannot listen on {}", flags.listen))?;
    // The first line on stdout tells the port; whoever started us waits for it, so it is flushed.
    let mut out = std::io::stdout();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    axum::serve(listener, router(service)).await?;
    Ok(())
}
