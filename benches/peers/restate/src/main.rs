//! The jobs of `traaviis bench server`, written for Restate with its Rust SDK.

use restate_sdk::prelude::*;
use serde_json::Value;

/// Address of this service, which the server calls.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9081);
/// Steps of a run.
const STEPS: u64 = 3;

/// A run whose states are set one after the other, with nothing outside: three pure transitions.
#[restate_sdk::workflow]
#[name = "pure"]
trait Pure {
    async fn run(input: Json<Value>) -> Result<Json<u64>, HandlerError>;
}

struct PureJob;

impl Pure for PureJob {
    async fn run(
        &self,
        context: WorkflowContext<'_>,
        _input: Json<Value>,
    ) -> Result<Json<u64>, HandlerError> {
        for step in 0..STEPS {
            context.set("state", step);
        }
        Ok(Json(STEPS))
    }
}

/// A run of three steps, each result durable before the next begins.
#[restate_sdk::workflow]
#[name = "steps"]
trait Steps {
    async fn run(input: Json<Value>) -> Result<Json<u64>, HandlerError>;
}

struct StepsJob;

impl Steps for StepsJob {
    async fn run(
        &self,
        context: WorkflowContext<'_>,
        _input: Json<Value>,
    ) -> Result<Json<u64>, HandlerError> {
        let mut done = 0;
        for _ in 0..STEPS {
            done = context.run(|| async move { Ok(done + 1) }).await?;
        }
        Ok(Json(done))
    }
}

/// A thing with a state, to which events are sent.
#[restate_sdk::object]
#[name = "thing"]
trait Thing {
    async fn event(input: Json<Value>) -> Result<Json<u64>, HandlerError>;
}

struct ThingJob;

impl Thing for ThingJob {
    async fn event(
        &self,
        context: ObjectContext<'_>,
        _input: Json<Value>,
    ) -> Result<Json<u64>, HandlerError> {
        let state = context.get::<u64>("state").await?.unwrap_or(0) + 1;
        context.set("state", state);
        Ok(Json(state))
    }
}

#[tokio::main]
async fn main() {
    let jobs = Endpoint::builder()
        .bind(PureJob.serve())
        .bind(StepsJob.serve())
        .bind(ThingJob.serve())
        .build();
    HttpServer::new(jobs).listen_and_serve(ADDRESS.into()).await;
}
