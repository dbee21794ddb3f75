//! Many sockets on one server: what each costs in memory, how long an event takes until everybody
//! who listens has heard of it, and how long somebody hears on who may no longer.
//!
//! The server runs in a process of its own, and this one plays all tenants. Times run from the
//! moment an event is sent until its frame is read, so they hold the durable write, and what this
//! process needs to read ten thousand sockets on the same cores.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{sleep, sleep_until},
};

use super::{
    crowd::{self, Audience, Tenant, Wanted},
    load::{Connection, request},
    report::{Goal, Report, Unit},
    workflows,
};
use crate::{bench, disk::percentile, exit::Exit, output::Output};

/// Megabytes of the server.
const MEMORY_GOAL: Goal = Goal::Most(256.0);
/// Milliseconds from an event to the slowest hundredth of its listeners.
const FAN_OUT_GOAL: Goal = Goal::Most(250.0);
/// Seconds until somebody hears nothing more of a tenant that they are no member of.
const REVOKED_GOAL: Goal = Goal::Most(2.0);
/// Connections that send events.
const SENDERS: usize = 16;
/// Sockets of a member who is suspended: one hears the machines, the other the tenant.
const MEMBER_SOCKETS: usize = 2;
/// Time in which a process gives back what it does not need.
const SETTLES: Duration = Duration::from_secs(4);
/// Longest wait for frames, and for sockets to be closed.
const WAIT: Duration = Duration::from_secs(30);
const PLAIN: &str = r#"{"workflow":"BenchPlain","input":{"n":1}}"#;
const GO: &str = r#"{"event":"go","data":{}}"#;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Sockets.
    pub sockets: usize,
    /// Tenants that they listen to, each as many.
    pub tenants: usize,
    /// Members who are suspended, one after the other.
    pub members: usize,
    /// Rounds over which medians are taken.
    pub rounds: usize,
    /// Events a second of all tenants together.
    pub rate: f64,
    /// Time of one round.
    pub time: Duration,
}

impl Plan {
    /// What the goals are stated for.
    pub fn full() -> Plan {
        let time = Duration::from_secs(10);
        Plan { sockets: 10_000, tenants: 1_000, members: 9, rounds: 3, rate: 200.0, time }
    }

    /// A look within a minute.
    pub fn quick() -> Plan {
        let time = Duration::from_secs(4);
        Plan { sockets: 1_000, tenants: 100, members: 5, time, ..Plan::full() }
    }

    /// As small as can be; for the test that keeps this alive.
    pub fn tiny() -> Plan {
        let time = Duration::from_millis(100);
        Plan { sockets: 8, tenants: 2, members: 1, rounds: 1, rate: 50.0, time }
    }

    fn members_sockets(&self) -> usize {
        self.members * MEMBER_SOCKETS
    }
}

/// Runs the benchmark in `dir`, which must not hold anything else; `build` is the server that is
/// measured, unless it is this one.
pub fn run(plan: &Plan, build: Option<&Path>, dir: &Path, output: &Output) -> anyhow::Result<Exit> {
    let begun = Instant::now();
    crowd::allow_sockets(plan.sockets)?;
    let mut report = Report::default();
    let server = crowd::serve(build, &dir.join("data"))?;
    // One thread listens, as callers elsewhere would take nothing from the server's cores.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        bench::output_progress(output, "accounts and workflows");
        let mut tenants = crowd::tenants(server.address, plan.tenants, &[workflows::PLAIN]).await?;
        crowd::start(server.address, &mut tenants, 1, (PLAIN, SENDERS)).await?;
        let mut connection = Connection::open(server.address).await?;
        let mut members = Vec::new();
        for at in 0..plan.members {
            members.push(crowd::member(&mut connection, &tenants[at % tenants.len()], at).await?);
        }
        sleep(SETTLES).await;
        let before = server.resident()? as f64;
        report.add("resident, nobody listens", Unit::Megabytes, None, before / 1e6);

        bench::output_progress(output, "sockets");
        let audience = Audience::of(tenants.len());
        let wanted = wanted(plan, &tenants, &members);
        let opening = Instant::now();
        crowd::listen(server.address, wanted, &audience).await?;
        let rate = plan.sockets as f64 / opening.elapsed().as_secs_f64();
        report.add("sockets opened and joined", Unit::PerSecond, None, rate);
        sleep(SETTLES).await;
        let after = server.resident()? as f64;
        let each = (after - before) / plan.sockets as f64;
        report.add("memory of one socket", Unit::Bytes, None, each);
        let name = format!("resident, {} sockets", plan.sockets);
        report.add(&name, Unit::Megabytes, Some(MEMORY_GOAL), after / 1e6);

        let bench = Bench { plan, tenants, audience, address: server.address };
        for round in 1..=plan.rounds {
            bench::output_progress(output, &format!("round {round} of {}", plan.rounds));
            bench.paced(&mut report).await?;
            bench.at_once(&mut report).await?;
        }
        for (at, (id, _)) in members.iter().enumerate() {
            bench.suspend(at, id, &mut report).await?;
        }
        let resident = server.resident()? as f64 / 1e6;
        let goal = Some(MEMORY_GOAL);
        report.add("resident server after it all", Unit::Megabytes, goal, resident);
        let lost = bench.audience.ended_count() - plan.members_sockets();
        anyhow::ensure!(lost == 0, "{lost} sockets were closed that should not have been");
        anyhow::Ok(())
    })?;
    bench::show(report, plan.rounds, begun, output)
}

/// Names all sockets: first those of members, then those of owners, which listen to their machines.
fn wanted(plan: &Plan, tenants: &[Tenant], members: &[(String, String)]) -> Vec<Wanted> {
    let mut all = Vec::with_capacity(plan.sockets);
    for (at, (_, token)) in members.iter().enumerate() {
        let tenant = at % tenants.len();
        let id = &tenants[tenant].id;
        for topic in [format!("fsm:{id}"), format!("tenant:{id}")] {
            all.push(Wanted { socket: all.len(), tenant, topic, token: token.clone() });
        }
    }
    for socket in all.len()..plan.sockets {
        let tenant = socket % tenants.len();
        let Tenant { id, token, .. } = &tenants[tenant];
        let topic = format!("fsm:{id}");
        all.push(Wanted { socket, tenant, topic, token: token.clone() });
    }
    all
}

struct Bench<'a> {
    plan: &'a Plan,
    tenants: Vec<Tenant>,
    audience: Arc<Audience>,
    address: std::net::SocketAddr,
}

impl Bench<'_> {
    /// Returns how many listen to the machines of a tenant.
    fn listeners(&self, tenant: usize) -> usize {
        let (members, tenants) = (self.plan.members, self.tenants.len());
        let of_members = (0..members).filter(|it| it % tenants == tenant).count();
        let owners = (self.plan.members_sockets()..self.plan.sockets)
            .filter(|it| it % tenants == tenant)
            .count();
        of_members + owners
    }

    /// Sends events to one tenant after the other at a pace.
    async fn paced(&self, report: &mut Report) -> anyhow::Result<()> {
        let count = (self.plan.rate * self.plan.time.as_secs_f64()) as usize;
        let between = Duration::from_secs_f64(1.0 / self.plan.rate);
        self.audience.take_times();
        self.send(count, between).await?;
        let times = self.audience.take_times();
        for (name, part, goal) in [
            ("event to frame, p50", 0.5, None),
            ("event to frame, p95", 0.95, None),
            ("event to frame, p99", 0.99, Some(FAN_OUT_GOAL)),
        ] {
            report.add(name, Unit::Millis, goal, percentile(&times, part).as_secs_f64() * 1e3);
        }
        Ok(())
    }

    /// Sends an event to every tenant as fast as it goes.
    async fn at_once(&self, report: &mut Report) -> anyhow::Result<()> {
        let begun = Instant::now();
        self.send(self.tenants.len(), Duration::ZERO).await?;
        let took = begun.elapsed().as_secs_f64();
        let times = self.audience.take_times();
        report.add("frames, an event in every tenant", Unit::PerSecond, None, {
            times.len() as f64 / took
        });
        let p99 = percentile(&times, 0.99).as_secs_f64() * 1e3;
        report.add("event to frame beside that, p99", Unit::Millis, Some(FAN_OUT_GOAL), p99);
        Ok(())
    }

    /// Sends events and waits until all who listen have heard of each.
    async fn send(&self, count: usize, between: Duration) -> anyhow::Result<()> {
        let frames = self.audience.frames.load(Ordering::Relaxed);
        let (next, begun) = (Arc::new(AtomicUsize::new(0)), Instant::now());
        let listeners: Vec<usize> = (0..self.tenants.len()).map(|it| self.listeners(it)).collect();
        let expected: usize = (0..count).map(|it| listeners[it % listeners.len()]).sum();
        let listeners = Arc::new(listeners);
        let requests = self.tenants.iter().map(|it| {
            let path = format!("/api/v1/tenants/current/instances/{}/events", it.instances[0]);
            request("POST", &path, &it.token, GO)
        });
        let requests: Arc<Vec<Vec<u8>>> = Arc::new(requests.collect());
        let mut tasks = JoinSet::new();
        for _ in 0..SENDERS {
            let (next, listeners) = (Arc::clone(&next), Arc::clone(&listeners));
            let (requests, audience) = (Arc::clone(&requests), Arc::clone(&self.audience));
            let address = self.address;
            tasks.spawn(async move {
                let mut connection = Connection::open(address).await?;
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    if at >= count {
                        return anyhow::Ok(());
                    }
                    let due = begun + between.mul_f64(at as f64);
                    sleep_until(due.into()).await;
                    let tenant = at % requests.len();
                    wait_until(|| audience.is_heard(tenant)).await?;
                    audience.sends(tenant, listeners[tenant]);
                    let answer = connection.ask(&requests[tenant]).await?;
                    let text = String::from_utf8_lossy(&answer.body).into_owned();
                    anyhow::ensure!(answer.status == 200, "{}: {text}", answer.status);
                }
            });
        }
        while let Some(sent) = tasks.join_next().await {
            sent??;
        }
        if wait_until(|| self.audience.missing() == 0).await.is_err() {
            anyhow::bail!("{} frames did not come within {WAIT:?}", self.audience.missing());
        }
        let came = self.audience.frames.load(Ordering::Relaxed) - frames;
        anyhow::ensure!(came == expected, "{came} frames came where {expected} should have");
        Ok(())
    }

    /// Suspends a member and waits until their sockets hear nothing more of the tenant.
    async fn suspend(&self, at: usize, id: &str, report: &mut Report) -> anyhow::Result<()> {
        let tenant = &self.tenants[at % self.tenants.len()];
        let path = format!("/tenants/current/members/{id}/suspend");
        let mut connection = Connection::open(self.address).await?;
        let begun = Instant::now();
        crowd::ask(&mut connection, "POST", &path, &tenant.token, &json!({})).await?;
        let sockets = at * MEMBER_SOCKETS..(at + 1) * MEMBER_SOCKETS;
        let all = || sockets.clone().filter_map(|it| self.audience.ended(it));
        wait_until(|| all().count() == MEMBER_SOCKETS).await?;
        let last = all().max().unwrap_or(begun);
        let took = last.duration_since(begun).as_secs_f64();
        report.add("suspended member hears nothing more", Unit::Seconds, Some(REVOKED_GOAL), took);
        Ok(())
    }
}

async fn wait_until(is_so: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !is_so() {
        anyhow::ensure!(begun.elapsed() < WAIT, "nothing came within {WAIT:?}");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
