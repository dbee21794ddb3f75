//! `kill -9` of `run --data` at random moments: nothing acknowledged is lost, nothing is done
//! twice.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use traaviis_testkit::rng::Rng;

use crate::{
    cli::{PURE, Process, World, wait_until},
    index::{listed, rows_of},
};

/// The order saga with a service that is slow enough for kills to land in the middle.
const SAGA: &str = r#"
traaviis: "1"
name: OrderSaga
version: 1.0.0
initial: validating
correlation: {key: input.order_id, unique: true}
data: {initial: {order: "${input}", charge_id: null, tracking: null}}
events: {cancel_order: {}}
defaults: {timeout: 20s, retry: {attempts: 4, backoff: constant, base_delay: 20ms, jitter: none}}
states:
  validating:
    always: [{target: fulfilling, guard: "data.order.items.all(i, i.qty > 0)"}, {target: failed}]
  fulfilling:
    on: {cancel_order: cancelled}
    invoke:
      - id: fulfil
        effect:
          type: saga
          on_cancel: compensate
          steps:
            - id: reserve
              action: {type: call, function: inventory.reserve, args: {sku: "${data.order.items[0].sku}", qty: "${data.order.items[0].qty}"}}
              compensation: {type: call, function: inventory.release, args: {reservation_id: "${steps.reserve.value.reservation_id}"}}
            - id: charge
              action: {type: call, function: payment.charge, args: {amount: "${data.order.amount}", card: "${data.order.card}"}, on_unknown: ask}
              compensation: {type: call, function: payment.refund, args: {charge_id: "${steps.charge.value.charge_id}"}}
            - id: ship
              action: {type: call, function: shipping.book, args: {order: "${data.order.order_id}", address: "${data.order.address}"}}
              compensation: {type: call, function: shipping.cancel, args: {tracking: "${steps.ship.value.tracking}"}}
        onDone: {target: completed, actions: [{assign: {charge_id: "${result.charge.charge_id}", tracking: "${result.ship.tracking}"}}]}
        onError: [{target: compensated, guard: event.data.compensated}, {target: failed}]
    after: {15m: failed}
  completed: {type: final, output: {tracking: "${data.tracking}", charge_id: "${data.charge_id}"}}
  compensated: {type: final, status: compensated, output: {cause: "${event.data.code}"}}
  cancelled: {type: final, status: cancelled}
  failed: {type: final, status: failed}
"#;

fn connectors(port: u16) -> String {
    let mut text = format!(
        "traaviis: \"1\"\nkind: connectors\nbase_url: http://127.0.0.1:{port}\n\
         egress: {{allow_private: [\"127.0.0.1:{port}\"]}}\nfunctions:\n"
    );
    for (name, path) in [
        ("inventory.reserve", "/inventory/reservations"),
        ("inventory.release", "/inventory/release"),
        ("payment.charge", "/payments"),
        ("payment.refund", "/refunds"),
        ("shipping.book", "/shipments"),
        ("shipping.cancel", "/shipments/cancel"),
    ] {
        text += &format!(
            "  {name}: {{method: POST, path: {path}, side_effect: true, idempotent: true}}\n"
        );
    }
    text
}

/// The example service beside this binary; built when `cargo test` of this package alone runs.
fn order_service() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_BIN_EXE_traaviis"));
    let binary = folder.with_file_name("order-service");
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--package", "order-service"]);
        if let Some(target) = folder.parent().and_then(|it| it.parent()) {
            build.arg("--target-dir").arg(target);
        }
        if folder.parent().is_some_and(|it| it.ends_with("release")) {
            build.arg("--release");
        }
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        build.args(["--manifest-path", manifest]);
        assert!(build.status().unwrap().success());
    }
    binary
}

struct Shop {
    _process: Process,
    port: u16,
}

impl Shop {
    fn open(world: &World, slow_ms: u32) -> Shop {
        let mut command = Command::new(order_service());
        command.args(["--listen", "127.0.0.1:0"]).arg("--ledger").arg(world.path("ledger.jsonl"));
        for group in ["inventory", "payment", "shipping"] {
            command.args(["--slow", &format!("{group}={slow_ms}")]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().rsplit(':').next().unwrap().parse().unwrap();
        Shop { _process: Process(child), port }
    }

    fn ledger(&self) -> serde_json::Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(b"GET /ledger HTTP/1.0\r\nHost: shop\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

/// Returns the number in a variable.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default)
}

struct Order<'a> {
    world: &'a World,
    input: String,
    /// Lines printed by any of the processes: acknowledged, so they must never vanish.
    seen: Vec<String>,
}

/// How one process ended.
enum End {
    Killed,
    Exited(i32),
}

impl Order<'_> {
    /// Runs until the end or until killed after `delay`; keeps what was printed.
    fn attempt(&mut self, delay: Option<Duration>) -> End {
        let arguments =
            ["run", "saga.yaml", "--json", "--data", "d", "--connectors", "c.yaml", "--input"];
        let mut command = self.world.command(&arguments);
        let mut child =
            command.arg(&self.input).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut lines = Vec::new();
            let mut out = BufReader::new(out);
            let mut line = String::new();
            // A line without its end was not printed completely.
            while out.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
                lines.push(std::mem::take(&mut line).trim_end().to_string());
            }
            lines
        });
        let end = wait_or_kill(&mut child, delay);
        self.seen.extend(reader.join().unwrap());
        end
    }

    fn last(&self) -> serde_json::Value {
        self.seen.last().map_or(serde_json::Value::Null, |it| serde_json::from_str(it).unwrap())
    }

    /// Answers an incident as an operator who knows that the service honours its keys.
    fn resolve(&self) {
        let listed = self.world.run(&["ps", "--data", "d", "--json"]);
        let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
        let instance = &listed["instances"][0];
        assert_eq!(instance["status"], "incident", "{listed}");
        let id = instance["id"].as_str().unwrap();
        let path = "fulfil/charge";
        let output = self.world.run(&["resolve", id, path, "--retry", "--data", "d"]);
        assert_eq!(output.status.code(), Some(0), "{}", self.world.shown(&output));
    }
}

fn wait_or_kill(child: &mut Child, delay: Option<Duration>) -> End {
    let begun = std::time::Instant::now();
    let limit = delay.unwrap_or(Duration::from_secs(60));
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return End::Exited(status.code().unwrap_or(-1));
        }
        if begun.elapsed() >= limit {
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(delay.is_some(), "the run hangs");
            return End::Killed;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn nothing_is_lost_and_nothing_done_twice() {
    let (rounds, seed) = (number("KILL_ROUNDS", 50), number("KILL_SEED", 1));
    let world = World::new().file("saga.yaml", SAGA);
    let shop = Shop::open(&world, 30);
    std::fs::write(world.path("c.yaml"), connectors(shop.port)).unwrap();
    // The same seed kills at the same moments, as far as a scheduler allows.
    let mut dice = Rng::new(seed);
    let (mut kills, mut orders) = (0, 0);
    let mut seen = Vec::new();
    while kills < rounds {
        orders += 1;
        let input = format!(
            r#"{{"order_id":"o{orders}","amount":10,"card":"k","address":{{}},"items":[{{"sku":"a","qty":1}}]}}"#
        );
        let mut order = Order { world: &world, input, seen: Vec::new() };
        loop {
            // The whole run takes a little over 100 ms; a round without a kill ends the order.
            let delay = Duration::from_micros(dice.below(160_000));
            match order.attempt((kills < rounds).then_some(delay)) {
                End::Killed => kills += 1,
                End::Exited(0) => break,
                End::Exited(1) => {
                    let last = order.last();
                    assert_eq!(last["error"]["code"], "incident", "seed {seed}: {last}");
                    order.seen.pop();
                    order.resolve();
                }
                End::Exited(code) => panic!("seed {seed}: exit {code}: {}", order.last()),
            }
        }
        let last = order.last();
        assert_eq!(last["status"], "completed", "seed {seed}: {last}");
        assert!(last["output"]["charge_id"].is_string(), "seed {seed}: {last}");
        // Results of orders that ended between two prints are no records.
        seen.extend(order.seen.into_iter().filter(|it| it.contains(r#""tenant_id""#)));
    }
    check_log(&world, &seen, seed);
    check_index(&world, seed);
    let ledger = shop.ledger();
    let entries = ledger.as_object().unwrap();
    assert!(entries.values().all(|it| it["executions"] == 1), "seed {seed}: {ledger:#}");
    assert_eq!(entries.len(), 3 * orders, "seed {seed}: {ledger:#}");
}

/// The index that lived through the kills lists what one made from the whole log lists.
fn check_index(world: &World, seed: u64) {
    let lived = listed(world, &["--all"]);
    assert!(!lived.is_empty());
    let rebuilt = world.run(&["rebuild", "--data", "d"]);
    assert!(rebuilt.status.success(), "seed {seed}: {}", world.shown(&rebuilt));
    assert_eq!(listed(world, &["--all"]), lived, "seed {seed}");
}

/// Every line that was ever printed is in the log, byte for byte, and every history replays.
fn check_log(world: &World, seen: &[String], seed: u64) {
    let log = world.run(&["log", "cat", "d"]);
    let log = String::from_utf8(log.stdout).unwrap();
    let lines: std::collections::HashSet<&str> = log.lines().collect();
    for line in seen {
        assert!(lines.contains(line.as_str()), "seed {seed}: lost {line}");
    }
    std::fs::write(world.path("history.jsonl"), &log).unwrap();
    let output = world.run(&["replay", "history.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "seed {seed}: {}", world.shown(&output));
}

/// Starts children in crowds, each of which ends by itself.
const CROWD: &str = r#"
traaviis: "1"
name: Crowd
version: 1.0.0
initial: starting
data: {initial: {rounds: 0}}
states:
  starting:
    invoke:
      - id: start
        effect:
          type: batch
          items: "${input.items}"
          effect: {type: spawn_fsm, workflow: Pure, wait: false}
        onDone:
          - {target: done, guard: "data.rounds >= 4"}
          - {target: starting, reenter: true, actions: [{assign: {rounds: "${data.rounds + 1}"}}]}
        onError: {target: bad}
  done: {type: final}
  bad: {type: final, status: failed, output: "${event.data}"}
"#;

#[test]
fn what_was_listed_stays_listed_when_the_process_is_killed_under_load() {
    let (rounds, seed) = (number("KILL_ROUNDS", 8), number("KILL_SEED", 1));
    let items: Vec<u64> = (0..100).collect();
    let world = World::new()
        .file("crowd.yaml", CROWD)
        .file("pure.yaml", PURE)
        .file("i.json", &serde_json::json!({ "items": items }).to_string());
    let arguments = ["run", "crowd.yaml", "--input", "i.json", "--data", "d"];
    let mut dice = Rng::new(seed);
    let mut told: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    for _ in 0..rounds {
        let mut command = world.command(&arguments);
        let mut process = Process(command.stdout(Stdio::null()).spawn().unwrap());
        wait_until("the control socket is there", || {
            UnixStream::connect(world.path("d/control.sock")).is_ok()
                || process.0.try_wait().unwrap().is_some()
        });
        // Windows of 200 ms and longer: what is listed is partly in the index, partly in memory.
        std::thread::sleep(Duration::from_millis(dice.below(700)));
        told.extend(ended(&world));
        process.0.kill().unwrap();
        process.0.wait().unwrap();
        // No process: the index is behind the log, and says so.
        check_told(&told, &ended(&world), seed);
    }
    let run = world.run(&arguments);
    assert_eq!(run.status.code(), Some(0), "seed {seed}: {}", world.shown(&run));
    let last = ended(&world);
    assert_eq!(last.len(), 501, "seed {seed}");
    check_told(&told, &last, seed);
    assert!(!told.is_empty(), "seed {seed}: nothing was listed before a kill");
    check_index(&world, seed);
}

/// Returns what is listed as ended, by id.
fn ended(world: &World) -> BTreeMap<String, serde_json::Value> {
    // A process that is ending answers nothing any more; the directory does.
    let mut rows = None;
    wait_until("somebody answers", || {
        let args = ["ps", "--json", "--data", "d", "--status", "completed"];
        rows = rows_of(&world.run(&args));
        rows.is_some()
    });
    let rows = rows.unwrap_or_default();
    rows.into_iter().map(|it| (it["id"].as_str().unwrap().to_string(), it)).collect()
}

fn check_told(
    told: &BTreeMap<String, serde_json::Value>,
    found: &BTreeMap<String, serde_json::Value>,
    seed: u64,
) {
    for (id, row) in told {
        assert_eq!(found.get(id), Some(row), "seed {seed}");
    }
}
