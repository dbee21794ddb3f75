//! The REST interface as programs use it: over TCP, against the built server.

mod deleted;
mod effects;
mod hook_results;
mod hooks;
mod jobs;
mod keyed;
mod looks;
mod outside;
mod rename;
mod repeated;
mod schedules;
mod stream;
mod waits;
mod webhooks;

/// A door that opens and shuts, and locks in the end.
const DOOR: &str = r#"traaviis: "1"
name: Door
version: 1.0.0
events:
  open:
    schema:
      type: object
      properties: {by: {}}
  shut: {}
  lock: {}
initial: shut
states:
  shut:
    on:
      open: {target: ajar, actions: [{assign: {by: "${event.data.?by.orValue(null)}"}}]}
      lock: locked
  ajar:
    on:
      shut: shut
  locked:
    type: final
"#;
