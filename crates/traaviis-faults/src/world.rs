//! A data directory with everything over it, opened in this process: log, index, runtime.
//!
//! What the binary does when it opens a directory, for several tenants and with a clock that a
//! layer can shift.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use rustix::time::{ClockId, clock_gettime};
use traaviis_engine::Machine;
use traaviis_model::{
    Call, CallId, DeliveryClass, EffectError, InstanceId, Span, TenantCtx, Text, Timestamp, Value,
    document::{self, Format},
};
use traaviis_ports::{Clock, Connector, Ids, Index, LogError, LogStore, OnOutcome, SnapshotStore};
use traaviis_runtime::{Handle, Options, Ports, Runtime};
use traaviis_store::{Codec, LocalLog, Recovery, SqliteIndex, SqliteSnapshots};
use uuid::Uuid;

/// Room in memory for some states only, so that others are taken out and brought back all the time.
const HOT_BYTES: usize = 64 << 10;

/// Takes events until it is closed, and leaves for the archive at once.
const NOTED: &str = r#"
traaviis: "1"
name: Noted
version: 1.0.0
initial: open
retention: {completed: 0s, archive: 3650d}
events: {bump: {}, close: {}}
data: {initial: {n: 0, mark: "${input.mark}"}}
states:
  open:
    on:
      bump: {actions: [{assign: {n: "${data.n + 1}"}}]}
      close: done
  done: {type: final, output: "${data.n}"}
"#;

/// A saga; the last step fails where the input says so, and then everything is undone.
const TRIP: &str = r#"
traaviis: "1"
name: Trip
version: 1.0.0
initial: booking
data: {initial: {mark: "${input.mark}"}}
states:
  booking:
    invoke:
      - id: trip
        effect:
          type: saga
          steps:
            - {id: hotel, action: {type: call, function: hotel, args: {}}, compensation: {type: call, function: unhotel, args: {}}}
            - {id: flight, action: {type: call, function: flight, args: {}}, compensation: {type: call, function: unflight, args: {}}}
            - {id: pay, action: {type: call, function: "pay", args: {fails: "${input.fails}"}}}
        onDone: {target: booked}
        onError: {target: undone}
  booked: {type: final}
  undone: {type: final, status: compensated}
"#;

/// Calls, waits, calls again, some time after it began.
const TIMED: &str = r#"
traaviis: "1"
name: Timed
version: 1.0.0
initial: waiting
data: {initial: {mark: "${input.mark}"}}
states:
  waiting:
    after: {80ms: calling}
  calling:
    invoke:
      - id: work
        effect: {type: parallel, effects: [{type: delay, duration: 40ms}, {type: call, function: work, args: {}}]}
        onDone: done
        onError: done
  done: {type: final}
"#;

/// Told of each attempt before it is made.
pub type OnCall = Arc<dyn Fn(&CallId, &Text) + Send + Sync>;

/// Everything over one data directory.
pub struct World {
    /// What callers use.
    pub handle: Handle,
    /// The log.
    pub log: Arc<LocalLog>,
    /// What opening found.
    pub recovery: Recovery,
    /// Time as the runtime sees it.
    pub clock: Arc<ShiftedClock>,
    /// The three workflows.
    pub machines: Arc<[Arc<Machine>; 3]>,
    /// Why the log failed, if it did.
    pub fatal: Arc<Mutex<Option<LogError>>>,
}

/// How a directory is opened.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Bytes of a segment of the log.
    pub segment_bytes: u64,
    /// How far the wall clock is from the real one.
    pub ahead: Span,
}

impl Default for How {
    fn default() -> How {
        How { segment_bytes: 64 << 10, ahead: Span(0) }
    }
}

/// Says whether everything is kept as text, without a database: `TRAAVIIS_STORAGE` tells it, as it
/// tells the binary, and the processes that a layer starts take it over.
pub fn is_json_only() -> bool {
    std::env::var_os("TRAAVIIS_STORAGE").is_some_and(|it| it == "json-only")
}

impl World {
    /// Opens a directory and goes on with what is there.
    pub fn open(dir: &Path, how: How, on_call: OnCall) -> anyhow::Result<World> {
        let codec = if is_json_only() { Codec::Text } else { Codec::Packed };
        let options = traaviis_store::Options {
            segment_bytes: how.segment_bytes,
            codec,
            ..Default::default()
        };
        let (log, recovery) = LocalLog::open(dir, options)?;
        let (mut index, mut snapshots) = (None, None);
        if !is_json_only() {
            index = SqliteIndex::open(dir).ok().map(|(it, _)| Arc::new(it) as Arc<dyn Index>);
            let opened = SqliteSnapshots::open(dir).ok();
            snapshots = opened.map(|it| Arc::new(it) as Arc<dyn SnapshotStore>);
        }
        let fatal: Arc<Mutex<Option<LogError>>> = Arc::default();
        let seen = Arc::clone(&fatal);
        let options = Options {
            steps_per_second: None,
            checkpoint_bytes: 256 << 10,
            damaged: recovery.damaged_streams.clone(),
            lost: recovery.damage.iter().map(|it| it.from..it.to).collect(),
            index,
            snapshots,
            hot_bytes: HOT_BYTES,
            on_fatal: Arc::new(move |error| {
                *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            }),
            shards: 2,
            ..Options::default()
        };
        let clock = Arc::new(ShiftedClock::start(how.ahead));
        let ports = Ports {
            log: Arc::clone(&log) as Arc<dyn LogStore>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ids: Arc::new(RandomIds),
            connector: Arc::new(Receiver(on_call)),
        };
        let (handle, _) = Runtime::start(options, ports)?;
        Ok(World { handle, log, recovery, clock, machines: machines()?, fatal })
    }

    /// Ends the runtime and lets go of the directory.
    pub fn close(self) {
        // A log that has failed cannot be told so once more.
        let _ = self.handle.shutdown(Duration::from_secs(5));
        self.log.close();
    }
}

/// Compiles the workflows.
pub fn machines() -> anyhow::Result<Arc<[Arc<Machine>; 3]>> {
    let compile = |text: &str| {
        let read = document::read(text, Format::Yaml);
        let definition = read.definition.with_context(|| format!("{:?}", read.diagnostics))?;
        let compiled = Machine::compile(Arc::new(definition));
        compiled.map(Arc::new).map_err(|wrong| anyhow::anyhow!("{wrong:?}"))
    };
    Ok(Arc::new([compile(NOTED)?, compile(TRIP)?, compile(TIMED)?]))
}

/// Returns a tenant of the programme, and the word that only its instances have.
pub fn tenant(number: u64) -> (TenantCtx, Text) {
    (TenantCtx::for_test(u128::from(number) + 1), format!("mark-of-{number}-only").into())
}

/// The wall clock at start, shifted, plus the time that passed since.
pub struct ShiftedClock {
    wall: Timestamp,
    begun: Instant,
}

impl ShiftedClock {
    fn start(ahead: Span) -> ShiftedClock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = Timestamp(since.as_micros() as i64).plus(ahead);
        ShiftedClock { wall, begun: Instant::now() }
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(Span(self.begun.elapsed().as_micros() as i64))
    }
}

struct RandomIds;

impl Ids for RandomIds {
    fn instance_id(&self) -> InstanceId {
        InstanceId(Uuid::now_v7())
    }
}

/// A receiver that honours keys: it does the work of a key once, and answers at once.
struct Receiver(OnCall);

impl Connector for Receiver {
    fn perform(&self, _: &TenantCtx, call: Call, done: OnOutcome) {
        (self.0)(&call.id, &call.key);
        let args = call.input.get("args");
        let fails = args.and_then(|it| it.get("fails")).and_then(Value::as_bool).unwrap_or(false);
        done(match fails {
            true => Err(EffectError::new("http_error", "no money")),
            false => Ok(Value::Null),
        });
    }

    fn abandon(&self, _: &TenantCtx, _: &CallId) {}

    fn delivery_class(&self, _: &TenantCtx, _: &str, _: &Value) -> DeliveryClass {
        DeliveryClass::KeyedWrite
    }
}

/// Returns the time since boot, in seconds; for the seed of a run that is not told one.
pub fn seconds_since_boot() -> u64 {
    clock_gettime(ClockId::Boottime).tv_sec as u64
}
