//! Values of a person: read by everybody who may, in no file in the open, and gone with one key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;
use traaviis_model::{TenantCtx, Timestamp};
use traaviis_ports::LogStore as _;
use traaviis_store::{Keys, ReadOnlyLog, RootSource, Subjects};

use crate::{
    cli::{Process, World, wait_for_socket},
    index::listed,
};

/// About a person in every way there is: input, data, keys of data, events, logs, what is emitted,
/// timers, tasks, calls, errors, output, labels, and a child.
const ORDER: &str = r#"
traaviis: "1"
name: Order
version: 1.0.0
initial: open
subject: input.customer
correlation: {key: input.order}
tags: [orders]
input: {schema: {type: object, properties: {customer: {type: string}, email: {type: string}, order: {type: integer}}}}
data: {initial: {email: "${input.email}", by_email: {}, notes: []}}
events:
  note: {schema: {type: object}}
  ask: {}
  spawn: {}
  fail: {}
  close: {}
  told: {source: internal}
states:
  open:
    on:
      note:
        - actions:
            - {assign: {notes: "${data.notes + [event.data.text]}", by_email: "${ {data.email: 1} }"}}
            - {log: {message: "noted ${event.data.text}", data: "${event.data}"}}
            - {emit: {event: noted, data: "${data}"}}
            - {raise: {event: told, data: "${event.data}", delay: 1d}}
      ask: asking
      spawn: parenting
      fail: failing
      close: done
  asking:
    invoke:
      - id: agree
        effect: {type: human_task, title: "May ${data.email} go?", outcomes: [yes, no]}
        onDone: {target: open}
    on: {close: done}
  parenting:
    invoke:
      - id: below
        effect: {type: spawn_fsm, workflow: Below, input: {email: "${data.email}"}, wait: true}
        onDone: {target: open, actions: [{assign: {below: "${result}"}}]}
  failing:
    invoke:
      - id: wrong
        effect: {type: transform, expr: "json_decode(data.email)"}
  done: {type: final, output: {bye: "${data.email}"}}
"#;
const BELOW: &str = r#"
traaviis: "1"
name: Below
version: 1.0.0
initial: at_once
data: {initial: {email: "${input.email}"}}
states:
  at_once:
    always: [{target: done}]
  done: {type: final, output: {from: "${data.email}"}}
"#;

/// What must be found in no file. They begin the same, so that a part of one would be found, too.
const CANARY: &str = "canary_anna_51Hx";
const CUSTOMER: &str = "canary_anna_51Hx_customer_7";

fn json(world: &World, line: &str) -> Json {
    let arguments: Vec<&str> = line.split(' ').collect();
    let output = world.run(&[&arguments[..], &["--json"]].concat());
    assert!(output.status.success(), "{line}: {}", world.shown(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refusal(world: &World, line: &str) -> String {
    let output = world.run(&line.split(' ').collect::<Vec<_>>());
    assert!(!output.status.success(), "{line}: {}", world.shown(&output));
    world.shown(&output)
}

/// Starts an instance that waits; returns its id.
fn start(world: &World, file: &str, order: u32) -> String {
    let input =
        format!(r#"{{"customer":"{CUSTOMER}","email":"{CANARY}@example.org","order":{order}}}"#);
    let run = ["run", file, "--data", "d", "--tree", "eager", "--input", &input];
    let output = world.run(&run);
    assert_eq!(output.status.code(), Some(1), "{}", world.shown(&output));
    let listed = listed(world, &["--correlation", &order.to_string()]);
    listed[0]["id"].as_str().unwrap().to_owned()
}

fn send(world: &World, id: &str, event: &str) {
    let data = format!(r#"{{"text":"{CANARY} moved"}}"#);
    let mut arguments = vec!["send", id, event];
    if event == "note" {
        arguments.push(&data);
    }
    let output = world.run(&[&arguments[..], &["--data", "d"]].concat());
    assert!(output.status.success(), "{event}: {}", world.shown(&output));
}

/// Returns the files below a folder that hold a text, as it is or in base64 or hexadecimal digits,
/// and what is packed in them: records, the checkpoint, archived histories.
pub fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let hex: String = text.bytes().map(|it| format!("{it:02x}")).collect();
    let base64 = traaviis_model::value::base64(&text.as_bytes()[..text.len() / 3 * 3]);
    let forms = [text.to_owned(), hex, base64];
    let holds = |bytes: &[u8]| {
        forms.iter().any(|form| bytes.windows(form.len()).any(|it| it == form.as_bytes()))
    };
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if fs::read(&path).is_ok_and(|it| holds(&it)) => found.push(path),
                false => {}
            }
        }
    }
    let log = ReadOnlyLog::open(folder).unwrap();
    log.scan(0, &mut |line| {
        if holds(line.bytes) {
            found.push(format!("record {}", line.position).into());
        }
    })
    .unwrap();
    if log.checkpoint().unwrap().is_some_and(|(_, body)| holds(&body)) {
        found.push("checkpoint".into());
    }
    let (archive, ctx) = (log.archive().unwrap(), TenantCtx::local_operator());
    for id in archive.ids(&ctx, None, usize::MAX).unwrap() {
        let history = archive.get(&ctx, id).unwrap().unwrap();
        let lines = history.lines.concat();
        if holds(&lines) || holds(&history.entry.summary) {
            found.push(format!("archived {id}").into());
        }
    }
    found
}

fn nothing(world: &World, dir: &str) {
    assert_eq!(holding(&world.path(dir), CANARY), Vec::<PathBuf>::new(), "in {dir}");
}

/// A world with instances about a person: waiting with a task, failed, ended, archived.
fn lived() -> (World, [String; 4]) {
    lived_as(ORDER, &[])
}

/// The same of a workflow, after a command.
fn lived_as(order: &str, first: &[&str]) -> (World, [String; 4]) {
    let brief = order.replace("name: Order", "name: Brief") + "retention: {completed: 0s}\n";
    let world =
        World::new().file("order.yaml", order).file("brief.yaml", &brief).file("below.yaml", BELOW);
    if !first.is_empty() {
        let output = world.run(first);
        assert!(output.status.success(), "{}", world.shown(&output));
    }
    let (asking, failed) = (start(&world, "order.yaml", 1), start(&world, "order.yaml", 2));
    let (ended, archived) = (start(&world, "order.yaml", 3), start(&world, "brief.yaml", 4));
    for id in [&asking, &failed, &ended, &archived] {
        send(&world, id, "note");
    }
    send(&world, &failed, "fail");
    for id in [&ended, &archived] {
        send(&world, id, "close");
    }
    send(&world, &asking, "ask");
    (world, [asking, failed, ended, archived])
}

#[test]
fn values_of_a_person_rest_sealed_and_are_read_like_any_other() {
    let (world, [asking, failed, ended, archived]) = lived();
    nothing(&world, "d");
    for (id, what) in [(&asking, "open"), (&failed, "failed"), (&ended, "ended"), (&archived, "x")]
    {
        let shown = json(&world, &format!("show {id} --data d"));
        assert_eq!(shown["snapshot"]["data"]["email"], format!("{CANARY}@example.org"), "{what}");
        assert_eq!(shown["snapshot"]["subject"], CUSTOMER);
        assert_eq!(json(&world, &format!("replay {id} --data d"))["identical"], true);
    }
    let tasks = json(&world, "tasks --data d").to_string();
    assert!(tasks.contains(&format!("May {CANARY}@example.org go?")), "{tasks}");

    assert_eq!(json(&world, "compact d")["archived"], 1);
    nothing(&world, "d");
    assert_eq!(json(&world, &format!("replay {archived} --data d"))["identical"], true);
    json(&world, "backup b --data d");
    json(&world, "restore b --data r");
    nothing(&world, "r");
    let logs = |dir: &str| world.run(&["logs", &asking, "--data", dir]).stdout;
    assert_eq!(String::from_utf8(logs("r")), String::from_utf8(logs("d")));
    json(&world, "rebuild --tree --data d");
    assert_eq!(json(&world, "view verify d")["differences"], 0);
    nothing(&world, "d");

    let kept = json(&world, &format!("privacy export --subject {CUSTOMER} --data d"));
    assert_eq!(kept["instances"].as_array().unwrap().len(), 4);
    assert!(kept["instances"][0]["records"].to_string().contains(CANARY));
    // What is looked for would be found.
    fs::write(world.path("d/planted"), format!("x{CANARY}")).unwrap();
    assert_eq!(holding(&world.path("d"), CANARY), [world.path("d/planted")]);
}

/// Of nobody in particular, in a tenant that has everything sealed.
#[test]
fn what_is_about_nobody_rests_sealed_where_everything_is() {
    let order = ORDER.replace("subject: input.customer\n", "");
    let (world, [asking, failed, ended, archived]) =
        lived_as(&order, &["keys", "encryption", "all", "--data", "d"]);
    nothing(&world, "d");
    for id in [&asking, &failed, &ended, &archived] {
        let shown = json(&world, &format!("show {id} --data d"));
        assert_eq!(shown["snapshot"]["data"]["email"], format!("{CANARY}@example.org"));
        assert_eq!(shown["snapshot"]["subject"], "[TENANT]");
        assert_eq!(json(&world, &format!("replay {id} --data d"))["identical"], true);
    }
    // What it began is sealed as well.
    send(&world, &asking, "close");
    let again = start(&world, "order.yaml", 5);
    send(&world, &again, "spawn");
    nothing(&world, "d");
    assert_eq!(json(&world, "compact d")["archived"], 1);
    assert_eq!(json(&world, &format!("replay {archived} --data d"))["identical"], true);
    json(&world, "rebuild --tree --data d");
    assert_eq!(json(&world, "view verify d")["differences"], 0);
    nothing(&world, "d");
    // With keys that are new, and in a copy.
    json(&world, "keys rotate --data d");
    json(&world, "keys rotate --root --data d");
    json(&world, "backup b --data d");
    assert_eq!(json(&world, "backup verify b --against d")["problems"], Json::Array(vec![]));
    json(&world, "restore b --data r");
    nothing(&world, "r");
    for id in [&ended, &archived] {
        assert_eq!(json(&world, &format!("replay {id} --data r"))["identical"], true);
    }
    let refused = refusal(&world, "privacy erase --subject [TENANT] --data d");
    assert!(refused.contains("subject_invalid"), "{refused}");
    // What begins after it was changed back is in the open; what was sealed stays so.
    let told = json(&world, "keys encryption people --data d");
    assert_eq!(told["encryption"], "people");
    let open = start(&world, "order.yaml", 6);
    let shown = json(&world, &format!("show {open} --data d"));
    assert_eq!(shown["snapshot"]["subject"], Json::Null);
    assert!(!holding(&world.path("d"), CANARY).is_empty());
    assert_eq!(json(&world, &format!("replay {ended} --data d"))["identical"], true);
}

#[test]
fn after_erasure_the_values_are_gone_and_everything_else_stays() {
    let (world, ids) = lived();
    let [asking, failed, ended, archived] = &ids;
    json(&world, "compact d");
    json(&world, "backup before --data d");
    let records = |id: &str| {
        let output = world.run(&["logs", id, "--data", "d", "--json"]);
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    let counted = records(ended);

    let erase = format!("privacy erase --subject {CUSTOMER} --data d");
    let refused = refusal(&world, &erase);
    assert!(refused.contains("subject_in_use") && refused.contains("have not ended"), "{refused}");
    assert_eq!(json(&world, &format!("replay {asking} --data d"))["identical"], true);
    let erased = json(&world, &format!("{erase} --terminate"));
    assert_eq!((&erased["is_new"], &erased["terminated"][0]), (&true.into(), &(&**asking).into()));
    assert_eq!(erased["instances"].as_array().unwrap().len(), 4);
    let again = json(&world, &erase);
    assert_eq!((&again["is_new"], &again["erased"]), (&false.into(), &erased["erased"]));

    nothing(&world, "d");
    for id in &ids {
        let shown = json(&world, &format!("show {id} --data d"));
        let snapshot = &shown["snapshot"];
        for key in ["input", "data", "subject"] {
            assert_eq!(snapshot[key], "[ERASED]", "{key}: {snapshot}");
        }
        let replayed = json(&world, &format!("replay {id} --data d"));
        assert_eq!((&replayed["erased"], &replayed["identical"]), (&true.into(), &Json::Null));
    }
    let states: Vec<Json> = listed(&world, &["--all"]);
    let state = |id: &str| states.iter().find(|it| it["id"] == id).unwrap()["status"].clone();
    assert_eq!(
        (state(asking), state(failed), state(ended)),
        ("cancelled".into(), "failed".into(), "completed".into())
    );
    assert_eq!(listed(&world, &["--correlation", "3", "--all"]).len(), 1);
    assert_eq!(listed(&world, &["--archived"])[0]["id"], **archived);
    assert_eq!((records(ended), counted > 10), (counted, true));
    world.run(&["compare", failed, ended, "--data", "d"]);

    assert!(refusal(&world, &format!("retry {failed} --data d")).contains("subject_erased"));
    assert!(refusal(&world, &format!("fork {failed} --at 2 --data d")).contains("subject_erased"));
    json(&world, "rebuild --tree --data d");
    assert_eq!(json(&world, "view verify d")["differences"], 0);
    json(&world, "backup after --data d");
    assert_eq!(json(&world, "backup verify after --against d")["problems"], Json::Array(vec![]));
    json(&world, "restore after --data r");
    nothing(&world, "r");
    let found = json(&world, &format!("show {ended} --data r"));
    assert_eq!(found["snapshot"]["data"], "[ERASED]");

    // Documented: what was copied before still opens, until it is erased there as well.
    json(&world, "restore before --data old");
    let kept = json(&world, &format!("show {ended} --data old"));
    assert_eq!(kept["snapshot"]["data"]["email"], format!("{CANARY}@example.org"));
    json(&world, &format!("privacy erase --subject {CUSTOMER} --data old --terminate"));
    assert_eq!(json(&world, &format!("show {ended} --data old"))["snapshot"]["data"], "[ERASED]");

    // The person comes back.
    let back = start(&world, "order.yaml", 9);
    let shown = json(&world, &format!("show {back} --data d"));
    assert_eq!(shown["snapshot"]["data"]["email"], format!("{CANARY}@example.org"));
    assert_eq!(json(&world, &format!("show {ended} --data d"))["snapshot"]["data"], "[ERASED]");
    nothing(&world, "d");
}

#[test]
fn a_running_process_erases_too_and_a_killed_one_goes_on() {
    let (world, [asking, _, ended, _]) = lived();
    let run = ["run", "order.yaml", "--data", "d", "--wait", "--tree", "eager"];
    let input = r#"{"customer":"another","email":"b","order":77}"#;
    let mut command = world.command(&[&run[..], &["--input", input]].concat());
    let told = fs::File::create(world.path("told.txt")).unwrap();
    command.stdout(told.try_clone().unwrap()).stderr(told);
    let mut process = Process(command.spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let shown = json(&world, &format!("show {asking} --data d"));
    assert!(shown["snapshot"].to_string().contains(CANARY));
    let erase = format!("privacy erase --subject {CUSTOMER} --data d --terminate");
    let erased = json(&world, &erase);
    assert_eq!(erased["terminated"], Json::Array(vec![asking.clone().into()]));
    for id in [&asking, &ended] {
        let shown = json(&world, &format!("show {id} --data d"));
        assert_eq!(shown["snapshot"]["data"], "[ERASED]");
    }
    let refused = refusal(&world, "privacy erase --subject another --data d");
    assert!(refused.contains("subject_in_use"), "{refused}");
    let unknown = refusal(&world, "privacy erase --subject nobody --data d");
    assert!(unknown.contains("subject_unknown"), "{unknown}");
    let denied = refusal(&world, "privacy erase --subject another --data d --role developer");
    assert!(denied.contains("permission_denied"), "{denied}");
    process.0.kill().unwrap();
    process.0.wait().unwrap();
    nothing(&world, "d");

    // A kill between the key and the log leaves a key that is gone, of which the log says nothing.
    let found = listed(&world, &["--correlation", "77"]);
    let id = found[0]["id"].as_str().unwrap();
    json(&world, &format!("cancel {id} --terminate --data d"));
    let root = RootSource::File(world.path("config/traaviis/root.key"));
    let subjects = Subjects::new(Keys::new(&world.path("d"), root));
    let tenant = TenantCtx::local_operator().tenant();
    assert!(subjects.erase(tenant, "another", Timestamp(7)).unwrap().unwrap().is_new);
    let mut key = String::new();
    for _ in 0..2 {
        let other = json(&world, "privacy erase --subject another --data d");
        assert_eq!((&other["is_new"], &other["instances"][0]), (&false.into(), &id.into()));
        key = other["key"].as_str().unwrap().to_owned();
    }
    let records = String::from_utf8(world.run(&["log", "cat", "d"]).stdout).unwrap();
    let told = records.lines().filter(|it| it.contains(r#""document":"erasure""#));
    assert_eq!(told.filter(|it| it.contains(&key)).count(), 1);
}

#[test]
fn an_erasure_that_was_broken_off_is_told_and_finished_without_a_name() {
    let world = World::new().file("order.yaml", ORDER).file("below.yaml", BELOW);
    let id = start(&world, "order.yaml", 9);
    send(&world, &id, "close");
    let people = || {
        let output = world.run(&["doctor", "--data", "d", "--json"]);
        let checks: Json = serde_json::from_slice(&output.stdout).unwrap();
        let checks = checks["checks"].as_array().unwrap().clone();
        let it = checks.into_iter().find(|it| it["check"] == "people").unwrap();
        [&it["verdict"], &it["found"]].map(|it| it.as_str().unwrap().to_owned())
    };
    assert_eq!(people(), ["ok", "1 keys, each can be read; 0 destroyed"]);
    let root = RootSource::File(world.path("config/traaviis/root.key"));
    let subjects = Subjects::new(Keys::new(&world.path("d"), root));
    let tenant = TenantCtx::local_operator().tenant();
    assert!(subjects.erase(tenant, CUSTOMER, Timestamp(7)).unwrap().unwrap().is_new);
    let told = "0 keys, each can be read; 1 destroyed; of 1 of them the log does not say so";
    assert_eq!(people(), ["warn", told]);
    let finished = json(&world, "privacy erase --unfinished --data d");
    assert_eq!(finished["finished"][0]["instances"], serde_json::json!([id]), "{finished}");
    assert_eq!(people(), ["ok", "0 keys, each can be read; 1 destroyed"]);
    let again = json(&world, "privacy erase --unfinished --data d");
    assert_eq!(again["finished"], serde_json::json!([]));
    // A key that nobody can read is told too.
    let keys = world.path("d/system/keys").join(tenant.to_string());
    let part = fs::read_dir(keys).unwrap().next().unwrap().unwrap().path();
    let file = fs::read_dir(part).unwrap().next().unwrap().unwrap().path();
    fs::write(file, "{}").unwrap();
    let [verdict, found] = people();
    assert!(verdict == "fail" && found.starts_with("1 keys cannot be read"), "{found}");
}
