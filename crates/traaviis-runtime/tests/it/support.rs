//! Small definitions, and an owner whose log and world are moved by hand.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use traaviis_engine::{Birth, Machine};
use traaviis_model::{
    Call, CallId, InstanceId, Record, Snapshot, Span, TenantCtx, Timestamp, Value,
    document::{self, Format},
};
use traaviis_ports::{Append, Commit, LogError, Outcome};
use traaviis_runtime::{
    Command, Committed, Error, Library,
    owner::{Accepted, Key, Message, Outbox, Owner, Post, Settings, Start, StartOutcome},
    recovery::Part,
};
use uuid::Uuid;

/// Counts events; can wait for a timer, and has a business key.
pub const COUNTER: &str = r#"
traaviis: "1"
name: Counter
version: 1.0.0
initial: open
events: {bump: {}, wait: {}, close: {}}
data: {initial: {n: 0, fired: 0}}
states:
  open:
    on:
      bump: {actions: [{assign: {n: "${data.n + 1}"}}]}
      wait: waiting
      close: done
  waiting:
    on:
      bump: {actions: [{assign: {n: "${data.n + 1}"}}]}
      close: done
    after:
      10s: {target: open, actions: [{assign: {fired: "${data.fired + 1}"}}]}
  done: {type: final, output: "${data.n}"}
"#;

/// Its first timer leads into a cycle that never rests.
pub const ENDLESS: &str = r#"
traaviis: "1"
name: Endless
version: 1.0.0
initial: a
data: {initial: {n: 0}}
states:
  a:
    after:
      1s: b
      2s: {actions: [{assign: {n: 1}}]}
  b: {always: [{target: c, guard: "data.n == 0"}]}
  c: {always: [{target: b, guard: "data.n == 0"}]}
"#;

/// Its outcome cannot be taken before it is mended.
pub const PICKY: &str = r#"
traaviis: "1"
name: Picky
version: 1.0.0
initial: paying
data:
  schema: {type: object, properties: {paid: {type: integer}}}
  initial: {mended: false}
events: {mend: {}, stop: {}}
states:
  paying:
    on:
      mend: {actions: [{assign: {mended: true}}]}
      stop: off
    after: {20s: {actions: [{assign: {paid: "late"}}]}}
    invoke:
      - id: pay
        effect:
          type: saga
          steps:
            - id: hold
              action: {type: call, function: hold, args: {}}
              compensation: {type: call, function: release, args: {}}
            - id: charge
              action: {type: call, function: charge, args: {}}
        onDone:
          - {target: paid, guard: data.mended}
          - {target: paid, actions: [{assign: {paid: "much"}}]}
        onError: {target: failed}
  paid: {type: final}
  failed: {type: final, status: failed}
  off: {type: final, status: cancelled}
"#;

/// One call, tried again.
pub const PAYMENT: &str = r#"
traaviis: "1"
name: Payment
version: 1.0.0
budgets: {calls: 1000000}
initial: paying
events: {stop: {}, ask: {}}
states:
  paying:
    on: {stop: off, ask: {actions: []}}
    invoke:
      - id: pay
        effect: {type: call, function: charge, args: {}, retry: {attempts: 3, base_delay: 1s, jitter: none}}
        onDone: {target: paid}
        onError: {target: failed}
  paid: {type: final, output: "${event.data}"}
  failed: {type: final, status: failed}
  off: {type: final, status: cancelled}
"#;

/// Two steps that are undone when the third fails.
pub const TRIP: &str = r#"
traaviis: "1"
name: Trip
version: 1.0.0
budgets: {calls: 1000000}
initial: booking
events: {stop: {}}
states:
  booking:
    on: {stop: off}
    invoke:
      - id: trip
        effect:
          type: saga
          steps:
            - {id: hotel, action: {type: call, function: hotel, args: {}}, compensation: {type: call, function: unhotel, args: {}}}
            - {id: flight, action: {type: call, function: flight, args: {}}, compensation: {type: call, function: unflight, args: {}}}
            - {id: pay, action: {type: call, function: charge, args: {}}}
        onDone: {target: booked}
        onError: {target: undone}
  booked: {type: final}
  undone: {type: final, status: compensated}
  off: {type: final, status: cancelled}
"#;

/// Sends to another one of its kind, and keeps what it cannot take now.
pub const TALKER: &str = r#"
traaviis: "1"
name: Talker
version: 1.0.0
initial: talking
unhandled: defer
events: {hello: {}, more: {}, stop: {}}
data: {initial: {heard: 0}}
states:
  talking:
    on: {stop: off}
    invoke:
      - id: talk
        effect:
          type: batch
          items: [1, 2, 3]
          fail_fast: false
          effect: {type: send_event, id: tell, instance_id: "${input.peer}", event: hello, data: {n: "${item}"}}
        onDone: {target: listening}
        onError: {target: listening}
  listening:
    on:
      hello: {actions: [{assign: {heard: "${data.heard + 1}"}}]}
      more: talking
      stop: off
    after: {5m: off}
  off: {type: final}
"#;

/// Emits what it is told to.
pub const NEWS: &str = r#"
traaviis: "1"
name: News
version: 1.0.0
initial: open
events: {more: {}, bump: {}, stop: {}}
data: {initial: {n: 0}}
states:
  open:
    on:
      more: {actions: [{assign: {n: "${data.n + 1}"}}, {emit: {event: news, data: {n: "${data.n}"}, subject: north}}]}
      bump: {actions: [{emit: {event: unheard}}]}
      stop: off
    after: {4m: off}
  off: {type: final}
"#;

/// Hears [`NEWS`], and keeps what it cannot take now.
pub const READER: &str = r#"
traaviis: "1"
name: Reader
version: 1.0.0
initial: open
unhandled: defer
events: {hello: {}, more: {}, wait: {}, stop: {}}
data: {initial: {heard: 0}}
subscribe: [{from: {workflow: News}, event: news, match: event.data.n > 0, as: hello}]
states:
  open:
    on:
      hello: {actions: [{assign: {heard: "${data.heard + 1}"}}]}
      more: {actions: []}
      wait: busy
      stop: off
    after: {6m: off}
  busy:
    after: {10s: open, 6m: off}
  off: {type: final}
"#;

/// Starts children: waits for some, lets one go on alone.
pub const PARENT: &str = r#"
traaviis: "1"
name: Parent
version: 1.0.0
initial: working
events: {stop: {}, more: {}}
states:
  working:
    on: {stop: off}
    invoke:
      - id: family
        effect:
          type: parallel
          effects:
            a: {type: spawn_fsm, workflow: Child, input: {n: 1}, wait: true}
            b: {type: spawn_fsm, workflow: Child, input: {n: 2}, wait: true, parent_close: request_cancel, timeout: 20s}
            c: {type: spawn_fsm, workflow: Child, input: {n: 3}, parent_close: abandon}
            d: {type: spawn_fsm, workflow: Child, version: "1", input: {n: 4}, correlation: "${workflow.instance_id}"}
        onDone: {target: resting}
        onError: {target: resting}
  resting:
    on: {stop: off, more: working}
    after: {3m: off}
  off: {type: final}
"#;

/// What [`PARENT`] starts.
pub const CHILD: &str = r#"
traaviis: "1"
name: Child
version: 1.0.0
initial: working
states:
  working:
    invoke:
      - id: work
        effect:
          type: saga
          steps:
            - id: hold
              action: {type: call, function: hold, args: {}}
              compensation: {type: call, function: release, args: {}}
            - {id: pay, action: {type: call, function: left, args: {}}}
        onDone: {target: done}
        onError: {target: failed}
  done: {type: final, output: "${input.n}"}
  failed: {type: final, status: failed}
"#;

/// Calls side by side, then a wait.
pub const FAN: &str = r#"
traaviis: "1"
name: Fan
version: 1.0.0
budgets: {calls: 1000000}
initial: asking
events: {stop: {}, more: {}}
data: {initial: {rounds: 0}}
states:
  asking:
    on: {stop: off}
    invoke:
      - id: all
        effect:
          type: parallel
          effects:
            l: {type: call, function: left, args: {}}
            r: {type: call, function: right, args: {}}
            d: {type: delay, duration: 2s}
        onDone: {target: resting}
        onError: {target: resting}
  resting:
    on: {stop: off, more: {target: asking, actions: [{assign: {rounds: "${data.rounds + 1}"}}]}}
    after: {5m: off}
  off: {type: final}
"#;

/// Calls behind gates that all instances share: never more than [`GATED_LIMIT`] are let in.
pub const GATED: &str = r#"
traaviis: "1"
name: Gated
version: 1.0.0
budgets: {calls: 1000000}
initial: asking
events: {stop: {}, more: {}}
states:
  asking:
    on: {stop: off, more: {target: asking}}
    invoke:
      - id: all
        effect:
          type: parallel
          effects:
            l: {type: call, function: left, args: {}, concurrency: {key: door, limit: 2}}
            r: {type: rate_limit, key: peer, requests: 3, window: 20s, effect: {type: call, function: right, args: {}}}
            b: {type: fallback, effects: [{type: circuit_breaker, name: b, failure_threshold: 2, effect: {type: call, function: charge, args: {}}}, {type: value, value: 0}]}
            c: {type: cache, key: c, ttl: 1m, effect: {type: call, function: left, args: {}}}
        onDone: {target: off}
        onError: {target: off}
    after: {10m: off}
  off: {type: final}
"#;

/// Effects of [`GATED`] that may be inside at once.
pub const GATED_LIMIT: usize = 2;

/// An instance of one key at a time.
pub const KEYED: &str = r#"
traaviis: "1"
name: Keyed
version: 1.0.0
initial: open
correlation: {key: input.ref, unique: true}
events: {close: {}}
states:
  open: {on: {close: done}}
  done: {type: final}
"#;

pub fn machine(document: &str) -> Arc<Machine> {
    let read = document::read(document, Format::Yaml);
    let shown: Vec<String> = read.diagnostics.iter().map(ToString::to_string).collect();
    let definition = read.definition.unwrap_or_else(|| panic!("{}", shown.join("\n")));
    Arc::new(Machine::compile(Arc::new(definition)).unwrap_or_else(|found| panic!("{found:?}")))
}

pub fn ctx() -> TenantCtx {
    TenantCtx::for_test(1)
}

pub fn id(number: u128) -> InstanceId {
    InstanceId(Uuid::from_u128(number))
}

pub fn event(name: &str) -> Command {
    Command::Event { event: name.into(), data: Value::empty_map(), id: None }
}

pub fn event_with_id(name: &str, id: &str) -> Command {
    Command::Event { event: name.into(), data: Value::empty_map(), id: Some(id.into()) }
}

pub fn lines(bytes: &[u8]) -> impl Iterator<Item = Record> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| Record::read_line(line).unwrap())
}

/// What the owner wants from outside.
#[derive(Default)]
pub struct Outside {
    pub appends: VecDeque<(TenantCtx, Append, u64)>,
    pub calls: VecDeque<(TenantCtx, Call)>,
    pub abandoned: Vec<CallId>,
    pub published: Vec<Committed>,
    pub fatal: Option<LogError>,
}

impl Outbox for Outside {
    fn append(&mut self, ctx: &TenantCtx, append: Append, token: u64) {
        self.appends.push_back((ctx.clone(), append, token));
    }
    fn perform(&mut self, ctx: &TenantCtx, call: Call) {
        self.calls.push_back((ctx.clone(), call));
    }
    fn abandon(&mut self, _ctx: &TenantCtx, id: &CallId) {
        self.abandoned.push(id.clone());
    }
    fn publish(&mut self, committed: Committed) {
        self.published.push(committed);
    }
    fn fatal(&mut self, error: &LogError) {
        self.fatal = Some(error.clone());
    }
}

/// Tells all counters, then another one, and waits for it.
pub const CALLER: &str = r#"
traaviis: "1"
name: Caller
version: 1.0.0
initial: all
events: {bump: {}, close: {}, hello: {}, stop: {}}
states:
  all:
    on: {close: done}
    invoke:
      - id: all
        effect: {type: broadcast_event, event: bump, match: {workflow: Counter}}
        onDone: {target: one}
  one:
    on: {close: done}
    invoke:
      - id: one
        effect: {type: invoke_fsm, instance_id: "${input.peer}", event: close, timeout: 30s}
        onDone: {target: done}
        onError: {target: done}
  done: {type: final}
"#;

/// What owners post to each other, in order.
#[derive(Clone, Default)]
pub struct Letters(Arc<Mutex<VecDeque<(Key, Message)>>>, pub Arc<AtomicUsize>);

impl Post for Letters {
    fn post(&self, to: Key, message: Message) {
        self.0.lock().unwrap().push_back((to, message));
    }

    /// There is one owner, or as many as `id` of the letters tells apart.
    fn post_each(&self, make: &mut dyn FnMut() -> Message) -> usize {
        let owners = self.1.load(Ordering::SeqCst).max(1);
        for owner in 0..owners {
            self.post(Key { tenant: ctx().tenant(), id: id(owner as u128) }, make());
        }
        owners
    }
}

impl Letters {
    pub fn take(&self) -> Option<(Key, Message)> {
        self.0.lock().unwrap().pop_front()
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// The machines of the simulation, for children.
pub struct Known(pub Vec<Arc<Machine>>);

impl Library for Known {
    fn find(&self, _: &TenantCtx, workflow: &str, _: Option<&str>) -> Result<Arc<Machine>, String> {
        let found = self.0.iter().find(|it| *it.definition().name == *workflow);
        found.cloned().ok_or_else(|| format!("there is no workflow `{workflow}`"))
    }
}

/// An answer that may not have come yet.
pub type Answer<T> = Arc<Mutex<Option<Result<T, Error>>>>;

pub fn answer<T: Send + 'static>() -> (Answer<T>, traaviis_runtime::owner::Reply<T>) {
    let slot: Answer<T> = Arc::default();
    let to = Arc::clone(&slot);
    (slot, Box::new(move |answer| *to.lock().unwrap() = Some(answer)))
}

/// The code of an answer: `ok`, an error's code, or `none yet`.
pub fn code<T>(answer: &Answer<T>) -> &'static str {
    match &*answer.lock().unwrap() {
        None => "none yet",
        Some(Ok(_)) => "ok",
        Some(Err(error)) => error.code(),
    }
}

/// One owner, moved by hand.
pub struct World {
    pub owner: Owner,
    pub outside: Outside,
    pub now: Timestamp,
    /// Every durable record, in order.
    pub records: Vec<Record>,
}

impl World {
    pub fn new() -> World {
        World::with(Settings::default())
    }

    pub fn with(settings: Settings) -> World {
        World {
            owner: Owner::new(settings, Part::default()),
            outside: Outside::default(),
            now: Timestamp(1_000_000_000_000_000),
            records: Vec::new(),
        }
    }

    pub fn handle(&mut self, message: Message) {
        self.owner.handle(message, self.now, &mut self.outside);
    }

    pub fn start_as(
        &mut self,
        ctx: &TenantCtx,
        machine: &Arc<Machine>,
        id: InstanceId,
        input: Value,
    ) -> Answer<StartOutcome> {
        let (slot, reply) = answer();
        let (ctx, machine) = (ctx.clone(), Arc::clone(machine));
        self.handle(Message::Start(Start {
            ctx,
            machine,
            id,
            input,
            birth: Birth::default(),
            reply,
        }));
        slot
    }

    pub fn start(&mut self, machine: &Arc<Machine>, id: InstanceId) -> Answer<StartOutcome> {
        self.start_as(&ctx(), machine, id, Value::empty_map())
    }

    pub fn command(&mut self, id: InstanceId, command: Command) -> Answer<Accepted> {
        self.command_as(&ctx(), id, command)
    }

    pub fn command_as(
        &mut self,
        ctx: &TenantCtx,
        id: InstanceId,
        command: Command,
    ) -> Answer<Accepted> {
        let (slot, reply) = answer();
        self.handle(Message::Command { ctx: ctx.clone(), id, command, reply });
        slot
    }

    /// Makes the next append durable; returns the kinds of its records.
    pub fn commit(&mut self) -> String {
        let (_, mut append, token) = self.outside.appends.pop_front().expect("an append waits");
        let records: Vec<Record> = lines(append.lines.write()).collect();
        let kinds: Vec<&str> = records.iter().map(|it| it.body.kind()).collect();
        let text = kinds.join(" ");
        self.records.extend(records);
        let position = self.records.len() as u64;
        self.handle(Message::Committed(vec![(token, Ok(position))]));
        text
    }

    pub fn refuse(&mut self, error: LogError) {
        let (_, _, token) = self.outside.appends.pop_front().expect("an append waits");
        let commit: Commit = Err(error);
        self.handle(Message::Committed(vec![(token, commit)]));
    }

    pub fn commit_all(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        while !self.outside.appends.is_empty() {
            all.push(self.commit());
        }
        all
    }

    pub fn pass(&mut self, span: Span) {
        self.now = self.now.plus(span);
        self.owner.tick(self.now, &mut self.outside);
    }

    /// Answers the oldest call.
    pub fn outcome(&mut self, outcome: Outcome) {
        let (ctx, call) = self.outside.calls.pop_front().expect("a call runs");
        self.handle(Message::Outcome { tenant: ctx.tenant(), call: call.id, outcome });
    }

    pub fn snapshot(&self, id: InstanceId) -> Arc<Snapshot> {
        let mut open = self.owner.open_instances();
        open.find(|it| it.id == id).expect("the instance is open")
    }
}
