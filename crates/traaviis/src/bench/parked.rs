//! One server that holds much and does little: a hundred thousand waiting instances of a thousand
//! tenants, beside a thousand sockets; and whether many tenants are served as quickly as few.
//!
//! Few and many ask for as many instances in all, in turn, in one run, so what differs is the
//! number of tenants alone.

use std::{
    path::Path,
    sync::OnceLock,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    crowd::{self, Audience, Tenant, Wanted},
    load::{self, request},
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{bench, exit::Exit, output::Output};

/// Megabytes of the server.
const MEMORY_GOAL: Goal = Goal::Most(256.0);
/// Times that 95 of 100 requests of many tenants may take, against the same of few.
const MANY_GOAL: Goal = Goal::Most(1.2);
/// Tenants that are few.
const FEW: usize = 10;
/// Instances that readers ask for, of few tenants as of many.
const READ: usize = 1_000;
/// Connections that start waiting instances.
const STARTERS: usize = 64;
/// Connections at once where requests are timed.
const CONNECTIONS: usize = 16;
/// Time in which a process gives back what it does not need.
const SETTLES: Duration = Duration::from_secs(4);
/// Ends in its first step, so that nothing is left of it.
const PURE: &str = r#"{"workflow":"BenchPure","input":{"n":1}}"#;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Waiting instances.
    pub parked: usize,
    /// Tenants that they belong to, each as many.
    pub tenants: usize,
    /// Sockets.
    pub sockets: usize,
    /// Rounds over which medians are taken.
    pub rounds: usize,
    /// Time of one measurement.
    pub time: Duration,
}

impl Plan {
    /// What the goals are stated for.
    pub fn full() -> Plan {
        let time = Duration::from_millis(1_500);
        Plan { parked: 100_000, tenants: 1_000, sockets: 1_000, rounds: 7, time }
    }

    /// A look within a minute.
    pub fn quick() -> Plan {
        let time = Duration::from_millis(500);
        Plan { parked: 10_000, tenants: 100, sockets: 100, rounds: 5, time }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        let time = Duration::from_millis(30);
        Plan { parked: 20, tenants: 11, sockets: 4, rounds: 1, time }
    }
}

/// Returns the body that starts a waiting instance with 200 bytes of data.
fn parked_body() -> &'static str {
    static BODY: OnceLock<String> = OnceLock::new();
    BODY.get_or_init(|| {
        let text = "x".repeat(189);
        format!(r#"{{"workflow":"BenchParked","input":{{"text":"{text}"}}}}"#)
    })
}

/// Runs the benchmark in `dir`, which must not hold anything else; `build` is the server that is
/// measured, unless it is this one.
pub fn run(plan: &Plan, build: Option<&Path>, dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    crowd::allow_sockets(plan.sockets)?;
    let mut report = Report::default();
    let server = crowd::serve(build, &dir.join("data"))?;
    let address = server.address;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        bench::output_progress(output, "accounts and workflows");
        let documents = &[workflows::PARKED, workflows::PURE];
        let mut tenants = crowd::tenants(address, plan.tenants, documents).await?;
        sleep(SETTLES).await;
        let mut note = |name: String, goal: Option<Goal>| -> anyhow::Result<f64> {
            let resident = server.resident()? as f64;
            report.add(&name, Unit::Megabytes, goal, resident / 1e6);
            Ok(resident)
        };
        let empty = note(format!("resident, {} tenants", plan.tenants), None)?;
        bench::output_progress(output, "waiting instances");
        let each = plan.parked.div_ceil(plan.tenants);
        crowd::start(address, &mut tenants, each, (parked_body(), STARTERS)).await?;
        sleep(SETTLES).await;
        let parked = each * plan.tenants;
        let held = note(format!("resident, and {parked} waiting instances"), None)?;
        bench::output_progress(output, "sockets");
        let audience = Audience::of(tenants.len());
        crowd::listen(address, wanted(plan, &tenants), &audience).await?;
        sleep(SETTLES).await;
        note(format!("resident, and {} sockets", plan.sockets), Some(MEMORY_GOAL))?;
        report.add("memory of a waiting instance", Unit::Bytes, None, {
            (held - empty) / parked as f64
        });

        for round in 0..=plan.rounds {
            let is_warm = round > 0;
            bench::output_progress(output, &format!("round {round} of {}", plan.rounds));
            // Few before many in one round, many before few in the next.
            let mut parts = [("few", FEW.min(plan.tenants)), ("many", plan.tenants)];
            if round % 2 == 0 {
                parts.reverse();
            }
            for (name, count) in parts {
                for (what, is_read) in [("start", false), ("read", true)] {
                    let work = |at: usize| units(&tenants[..count], at, is_read);
                    let speed = load::drive(address, CONNECTIONS, plan.time, work).await?;
                    if is_warm {
                        let p95 = speed.p95.as_secs_f64() * 1e3;
                        report.add(&row(what, name), Unit::Millis, None, p95);
                    }
                }
            }
        }
        for what in ["start", "read"] {
            let of = |name| report.median(&row(what, name)).unwrap_or(f64::NAN);
            let ratio = of("many") / of("few");
            let name = format!("{what}, p95 of many tenants / of few");
            report.add(&name, Unit::Ratio, Some(MANY_GOAL), ratio);
        }
        let resident = server.resident()? as f64 / 1e6;
        report.add("resident server after it all", Unit::Megabytes, None, resident);
        let lost = audience.ended_count();
        anyhow::ensure!(lost == 0, "{lost} sockets were closed");
        anyhow::Ok(())
    })?;
    bench::show(report, plan.rounds, begun, output)
}

fn row(what: &str, name: &str) -> String {
    format!("{what}, p95, {name} tenants")
}

fn wanted(plan: &Plan, tenants: &[Tenant]) -> Vec<Wanted> {
    let one = |socket: usize| {
        let tenant = socket % tenants.len();
        let Tenant { id, token, .. } = &tenants[tenant];
        Wanted { socket, tenant, topic: format!("fsm:{id}"), token: token.clone() }
    };
    (0..plan.sockets).map(one).collect()
}

/// Returns what connection `at` asks for, one tenant after the other.
fn units(tenants: &[Tenant], at: usize, is_read: bool) -> Vec<load::Unit> {
    let each = READ.div_ceil(tenants.len());
    let of = |tenant: &Tenant, instance: usize| match is_read {
        true => {
            let id = &tenant.instances[instance % tenant.instances.len()];
            let path = format!("/api/v1/tenants/current/instances/{id}");
            request("GET", &path, &tenant.token, "")
        }
        false => request("POST", "/api/v1/tenants/current/instances", &tenant.token, PURE),
    };
    let all = (0..each).flat_map(|instance| tenants.iter().map(move |it| (it, instance)));
    all.skip(at).step_by(CONNECTIONS).map(|(tenant, it)| vec![of(tenant, it)]).collect()
}
