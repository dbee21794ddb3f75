//! The workflows that the benchmark runs.

/// Two states and one event between them: the cheapest durable transition.
pub const PLAIN: &str = include_str!("plain.yaml");

/// The same with three guards to look at and data to change, as real workflows have them.
pub const GUARDED: &str = include_str!("guarded.yaml");

/// One event that leads through a chain of states.
pub const CHAIN: &str = r#"
traaviis: "1"
name: BenchChain
version: 1.0.0
initial: rest
events: {go: {}}
states:
  rest: {on: {go: one}}
  one: {always: two}
  two: {always: three}
  three: {always: four}
  four: {always: rest}
"#;

/// Each event runs ten instant effects.
pub const INSTANT: &str = r#"
traaviis: "1"
name: BenchInstant
version: 1.0.0
initial: rest
data: {initial: {x: 0}}
events: {go: {}}
states:
  rest: {on: {go: work}}
  work:
    invoke:
      - id: steps
        effect:
          type: sequence
          effects:
            - {type: value, value: 1}
            - {type: put_data, key: x, value: 1}
            - {type: value, value: 2}
            - {type: put_data, key: x, value: 2}
            - {type: value, value: 3}
            - {type: put_data, key: x, value: 3}
            - {type: value, value: 4}
            - {type: put_data, key: x, value: 4}
            - {type: value, value: 5}
            - {type: put_data, key: x, value: 5}
        onDone: rest
"#;

/// Runs ten calls, one after the other, again and again: each outcome is durable before the next
/// begins.
pub const CALLS: &str = r#"
traaviis: "1"
name: BenchCalls
version: 1.0.0
initial: work
states:
  work:
    invoke:
      - id: steps
        effect:
          type: sequence
          effects:
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
            - {type: call, function: bench.nothing, args: {}}
        onDone: {target: work, reenter: true}
"#;

/// Effects of one event in [`INSTANT`].
pub const STEPS_PER_EVENT: f64 = 10.0;

/// Waits, with data to keep.
pub const PARKED: &str = r#"
traaviis: "1"
name: BenchParked
version: 1.0.0
initial: waiting
data: {initial: "${input}"}
events: {go: {}, poke: {}}
states:
  waiting: {on: {go: done, poke: waiting}}
  done: {type: final}
"#;

/// Ends in its first step.
pub const ENDS: &str = r#"
traaviis: "1"
name: BenchEnds
version: 1.0.0
initial: begun
data: {initial: {count: 1}}
states:
  begun: {always: done}
  done: {type: final, output: {count: "${data.count}"}}
"#;

/// Starts a child for each item.
pub const CROWD: &str = r#"
traaviis: "1"
name: BenchCrowd
version: 1.0.0
initial: starting
states:
  starting:
    invoke:
      - id: start
        effect:
          type: batch
          items: "${input.items}"
          effect: {type: spawn_fsm, workflow: BenchEnds, wait: true}
        onDone: done
        onError: bad
  done: {type: final}
  bad: {type: final, status: failed}
"#;

/// Ends when a timer fires.
pub const TIMED: &str = r#"
traaviis: "1"
name: BenchTimed
version: 1.0.0
initial: waiting
states:
  waiting:
    invoke:
      - id: wait
        effect: {type: delay, duration: "${input.wait}"}
        onDone: done
  done: {type: final}
"#;

/// Starts, goes through three states and ends, in one commit.
pub const PURE: &str = r#"
traaviis: "1"
name: BenchPure
version: 1.0.0
initial: one
states:
  one: {always: two}
  two: {always: three}
  three: {always: done}
  done: {type: final}
"#;

/// The same with a timer before each, so that each step is durable before the next.
pub const STEPS: &str = r#"
traaviis: "1"
name: BenchSteps
version: 1.0.0
initial: one
states:
  one: {after: {0s: two}}
  two: {after: {0s: three}}
  three: {after: {0s: done}}
  done: {type: final}
"#;
