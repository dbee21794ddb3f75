//! Channels of a served directory, over real sockets: topics, limits, clients that do not keep up,
//! and rights that end.

mod asked;
mod chosen;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use crate::{
    cli::{Process, World},
    npm,
    server::{PASSWORD, Server},
    websocket::{Channel, framed},
};

const DOOR: &str = r#"
traaviis: "1"
name: Door
version: 1.0.0
initial: shut
data: {initial: "${input}"}
events: {open: {}, shut: {}}
states:
  shut: {on: {open: ajar}}
  ajar: {on: {shut: shut}}
"#;

const ASK: &str = r#"
traaviis: "1"
name: Ask
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - id: ask
        effect: {type: approval, title: "Pay?", assignees: ["role:viewer"], separation: false}
        onDone: done
        onError: done
  done: {type: final}
"#;

/// Somebody with a tenant: their token and its id.
fn owner(server: &Server, email: &str) -> (String, String) {
    let token = server.register(email);
    let tenant = server.get(&token, "/tenants/current").text("/id");
    (token, tenant)
}

fn start_with(server: &Server, token: &str, workflow: &str, input: Json) -> String {
    let body = json!({ "workflow": workflow, "input": input });
    let told = server.post(token, "/instances", body);
    assert_eq!(told.status, 201, "{told:?}");
    told.text("/id")
}

#[test]
fn machines_are_driven_and_followed() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let mut socket = Channel::open(&server, &ada);
    let fsm = format!("fsm:{tenant}");
    assert_eq!(socket.join(&fsm)["tenant_id"], tenant);

    let modules = socket.granted(&fsm, "get_available_modules", json!({}));
    assert_eq!(modules["available_modules"][0]["name"], "Door");
    assert!(modules["available_modules"][0]["states"].to_string().contains("ajar"));
    let config = json!({ "module": "Door", "config": { "color": "red" } });
    let made = socket.granted(&fsm, "create_fsm", config);
    let id = made["fsm_id"].as_str().unwrap().to_owned();
    assert_eq!(socket.next(&fsm, "fsm_created")["module"], "Door");

    let asked = |event: &str| json!({ "fsm_id": id, "event": event, "event_data": {} });
    let told = socket.granted(&fsm, "validate_transition", asked("open"));
    assert_eq!(told["can_transition"], true);
    assert_eq!(told["current_state"], "shut");
    assert_eq!(told["possible_destinations"][0]["to"], json!(["ajar"]));
    let told = socket.granted(&fsm, "validate_transition", asked("shut"));
    assert_eq!(told["can_transition"], false);

    socket.granted(&fsm, "send_event", asked("open"));
    // The first transition is the one into the initial state.
    let changed = socket.until(|it| it[3] == "fsm_state_changed" && it[4]["event"] == "open");
    let changed = &changed[4];
    assert_eq!((&changed["from"], &changed["to"]), (&json!(["shut"]), &json!(["ajar"])));
    assert_eq!(changed["data"]["color"], "red");

    let events: Vec<Json> = ["shut", "open", "open"].map(asked).into();
    let answer = socket.granted(&fsm, "batch_send_events", json!({ "events": events }));
    assert_eq!((&answer["total_events"], &answer["taken"]), (&json!(3), &json!(2)));
    assert_eq!(answer["results"][2]["fsm_id"], *id);
    assert_eq!(answer["results"][2]["error"]["code"], "event_not_accepted");
    assert_eq!(socket.next(&fsm, "batch_events_processed")["refused"], 1);
    let many = vec![asked("open"); 1_001];
    let body = json!({ "events": many });
    // A frame of so many is larger than frames may be, so nobody comes to the limit of a batch.
    assert!(body.to_string().len() > 64 << 10);

    let state = socket.granted(&fsm, "get_fsm_state", json!({ "fsm_id": id }));
    assert_eq!(state["snapshot"]["status"], "running");
    let listed = socket.granted(&fsm, "list_fsms", json!({}));
    assert_eq!(listed["fsms"].as_array().unwrap().len(), 1);
    assert_eq!(socket.granted(&fsm, "ping", json!({}))["pong"], true);
    let unknown = socket.refused(&fsm, "fly", json!({}));
    assert_eq!(unknown, ("invalid_payload".into(), "unknown_event".into()));
    socket.granted(&fsm, "destroy_fsm", json!({ "fsm_id": id }));
    assert_eq!(socket.next(&fsm, "fsm_destroyed")["fsm_id"], *id);
}

#[test]
fn who_joins_an_instance_late_is_told_what_was_missed() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, _) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let id = start_with(&server, &ada, "Door", json!({}));
    for round in 0..150 {
        let event = if round % 2 == 0 { "open" } else { "shut" };
        assert_eq!(server.send(&ada, &id, event).status, 200);
    }
    let mut socket = Channel::open(&server, &ada);
    let topic = format!("instance:{id}");
    let shown = socket.granted(&topic, "phx_join", json!({ "after_seq": 3 }));
    let last = shown["snapshot"]["seq"].as_u64().unwrap();
    // More than are read at once.
    assert!(last > 220, "{last}");
    for seq in 4..=last {
        assert_eq!(socket.next(&topic, "record")["seq"], seq);
    }
    socket.granted(&topic, "send_event", json!({ "event": "open" }));
    assert_eq!(socket.next(&topic, "record")["seq"], last + 1);
    server.post(&ada, &format!("/instances/{id}/cancel"), json!({}));
    assert_eq!(socket.next(&topic, "finished")["status"], "cancelled");
    let nowhere = format!("instance:{}", uuid::Uuid::now_v7());
    assert_eq!(socket.refused(&nowhere, "phx_join", json!({})).0, "not_found");
}

#[test]
fn members_hear_of_tasks_workflows_settings_and_themselves() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Ask", ASK);
    let me = server.get(&ada, "/me").text("/id");
    let [tasks, workflows, all, own, watched, security] = [
        format!("tasks:{tenant}"),
        format!("tenant:{tenant}:workflows"),
        format!("tenant:{tenant}"),
        format!("user_activity:{me}"),
        format!("monitoring:{tenant}:instances"),
        format!("monitoring:{tenant}:security"),
    ];
    let mut socket = Channel::open(&server, &ada);
    for topic in [&tasks, &workflows, &own, &watched, &security] {
        socket.join(topic);
    }
    let joined = socket.join(&all);
    assert_eq!((&joined["workflow_count"], &joined["active_users"]), (&json!(1), &json!(1)));
    let activities = joined["recent_activities"].as_array().unwrap();
    assert!(activities.iter().any(|it| it["action"] == "workflow.published"), "{joined:#}");
    assert!(socket.next(&all, "presence_state")[&me]["metas"][0]["phx_ref"].is_string());

    let id = start_with(&server, &ada, "Ask", json!({}));
    let created = socket.next(&tasks, "task_created");
    assert_eq!((&created["fsm_id"], &created["workflow"]), (&json!(id), &json!("Ask")));
    let viewer = server.join(&ada, "vic@example.org", "viewer");
    assert_eq!(socket.next(&all, "member:updated")["change"], "invited");
    assert_eq!(socket.next(&all, "member:updated")["change"], "joined");
    let decided = json!({ "outcome": "approved" });
    let told = server.post(&viewer, &format!("/tasks/{id}/decide"), decided);
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!(socket.next(&tasks, "task_decided")["fsm_id"], *id);

    server.publish(&ada, "Door", DOOR);
    assert_eq!(socket.next(&workflows, "workflow:created")["name"], "Door");
    assert_eq!(socket.next(&workflows, "workflow:published")["name"], "Door");
    assert_eq!(socket.next(&all, "workflow:created")["name"], "Door");
    let published = socket.until(|it| it[2] == *own && it[4]["action"] == "workflow.published");
    assert_eq!(published[4]["tenant_id"], tenant);

    let version = server.get(&ada, "/tenants/current/config").header("etag");
    let version: u64 = version.trim_matches('"').parse().unwrap();
    let asked = |version: u64| json!({ "config": { "theme": "dark" }, "version": version });
    let told = socket.granted(&all, "tenant:update_config", asked(version));
    assert!(told["version"].as_u64() > Some(version), "{told}");
    assert!(socket.next(&all, "tenant:config_updated")["timestamp"].is_string());
    let stale = socket.refused(&all, "tenant:update_config", asked(version));
    assert_eq!(stale.1, "precondition_failed");

    let (mut tasks_made, mut ended) = (0, 0);
    while ended == 0 {
        let sample = socket.next(&watched, "sample");
        tasks_made += sample["tasks"].as_u64().unwrap();
        ended += sample["finished"].as_u64().unwrap();
    }
    assert_eq!((tasks_made, ended), (1, 1));

    let mut theirs = Channel::open(&server, &viewer);
    assert_eq!(theirs.refused(&own, "phx_join", json!({})).0, "not_found");
    // A key that may not see instances hears that there is a task, and nothing of which.
    let key = json!({ "name": "r", "scopes": ["workflow_execute"] });
    let key = server.post(&ada, "/api-keys", key).text("/key");
    let mut blind = Channel::open(&server, &key);
    let refused = blind.refused(&workflows, "phx_join", json!({}));
    assert_eq!(refused, ("insufficient_permissions".into(), "insufficient_permissions".into()));
    assert_eq!(blind.refused(&own, "phx_join", json!({})).0, "not_found");
    blind.join(&tasks);
    start_with(&server, &ada, "Ask", json!({}));
    let hint = blind.next(&tasks, "task_created");
    assert_eq!(hint.as_object().unwrap().keys().collect::<Vec<_>>(), ["timestamp"]);
}

/// Two tenants may have chosen the same id; what happens to one instance is told in its tenant.
#[test]
fn a_topic_is_of_one_tenant_also_where_ids_are_the_same() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, here) = owner(&server, "ada@example.org");
    let (eve, there) = owner(&server, "eve@example.org");
    let id = uuid::Uuid::now_v7().to_string();
    for token in [&ada, &eve] {
        server.publish(token, "Door", DOOR);
        let body = json!({ "workflow": "Door", "id": id, "input": { "of": token } });
        assert_eq!(server.post(token, "/instances", body).status, 201);
    }
    let topic = format!("instance:{id}");
    let (mut of_ada, mut of_eve) = (Channel::open(&server, &ada), Channel::open(&server, &eve));
    of_ada.join(&topic);
    of_eve.join(&topic);
    for foreign in [format!("fsm:{here}"), format!("tasks:{here}"), format!("tenant:{here}")] {
        let refused = of_eve.refused(&foreign, "phx_join", json!({}));
        assert_eq!(refused, ("not_found".into(), "no_tenant_context".into()));
    }
    of_eve.join(&format!("fsm:{there}"));
    server.send(&ada, &id, "open");
    assert_eq!(of_ada.next(&topic, "record")["kind"], "event_received");
    // The heartbeat is answered after whatever was told before it.
    of_eve.granted("phoenix", "heartbeat", json!({}));
    assert!(of_eve.heard.is_empty(), "{:?}", of_eve.heard);
}

#[test]
fn a_client_that_asks_too_much_is_refused_then_closed() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    let open = || Channel::open(&server, &ada);
    let beats = |count: usize| framed(r#"[null,"1","phoenix","heartbeat",{}]"#).repeat(count);

    // So many at once that no second, however long, has room for all of them.
    let mut busy = open();
    busy.stream.write_all(&beats(150)).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..150 {
        let frame = busy.until(|it| it[3] == "phx_reply");
        let response = frame[4]["response"].clone();
        statuses.push(frame[4]["status"] == "ok");
        assert!(frame[4]["status"] == "ok" || response["reason"] == "rate_limited", "{frame}");
    }
    assert!(statuses[..50].iter().all(|it| *it), "fifty are answered");
    assert!(statuses.contains(&false), "and not all");

    let mut flooding = open();
    flooding.stream.write_all(&beats(1_000)).unwrap();
    assert_eq!(flooding.closed(), 1008);

    let topic = format!("fsm:{tenant}");
    let long = |bytes: usize| {
        let empty = json!(["1", "1", topic, "ping", { "text": "" }]).to_string().len();
        json!(["1", "1", topic, "ping", { "text": "x".repeat(bytes - empty) }]).to_string()
    };
    let mut large = open();
    large.join(&topic);
    large.say(&long(64 << 10));
    assert_eq!(large.until(|it| it[1] == "1" && it[2] == *topic)[4]["status"], "ok");
    large.say(&long((64 << 10) + 1));
    assert_eq!(large.closed(), 1009);

    for (bytes, code) in [(framed("no frame"), 1002), ([&[0x82, 0x81], &[0; 5][..]].concat(), 1003)]
    {
        let mut odd = open();
        odd.stream.write_all(&bytes).unwrap();
        assert_eq!(odd.closed(), code);
    }
}

#[test]
fn a_socket_hears_sixty_four_topics() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let ids = (0..64).map(|_| start_with(&server, &ada, "Door", json!({})));
    let topics: Vec<String> = ids.map(|it| format!("instance:{it}")).collect();
    let mut socket = Channel::open(&server, &ada);
    for (at, topic) in topics.iter().enumerate() {
        if at > 0 && at % 40 == 0 {
            // No more messages in a second than a socket may send.
            std::thread::sleep(Duration::from_millis(1_100));
        }
        socket.join(topic);
    }
    let fsm = format!("fsm:{tenant}");
    let refused = socket.refused(&fsm, "phx_join", json!({}));
    assert_eq!(refused, ("rate_limited".into(), "quota_exceeded".into()));
    // Joining again takes the place of the first.
    socket.join(&topics[0]);
    assert_eq!(socket.next(&topics[0], "phx_close"), json!({}));
    socket.granted(&topics[1], "phx_leave", json!({}));
    socket.join(&fsm);
}

/// Events at once, fewer than wait for a client that reads.
const EACH: usize = 100;
/// Instances that they are sent to: each is opened and shut as often.
const DOORS: usize = 25;
/// How many times at most: with twelve kilobytes of data each, more than the queue of a socket and
/// the buffers of the system hold.
const TIMES: usize = 40;
const OPERATORS: &str = "token-of-operators-in-a-test-of-channels";

/// Returns what operators read.
fn numbers(server: &Server) -> String {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {OPERATORS}\r\n\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A client that reads nothing is closed, and nobody else waits for it.
#[test]
fn who_does_not_keep_up_is_closed_and_others_hear_everything() {
    let world = World::new();
    let server = Server::with(&world, &[], &[("TRAAVIIS_HTTP__METRICS_TOKEN", OPERATORS)]);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    // Many, since one takes two hundred steps a second at most.
    let start = |_| start_with(&server, &ada, "Door", json!({ "text": "x".repeat(12_000) }));
    let ids: Vec<String> = (0..DOORS).map(start).collect();
    let topic = format!("fsm:{tenant}");
    let (mut slow, mut quick) = (Channel::open(&server, &ada), Channel::open(&server, &ada));
    slow.join(&topic);
    quick.join(&topic);
    let events: Vec<Json> = (0..EACH)
        .map(|at| {
            let event = if (at / DOORS).is_multiple_of(2) { "open" } else { "shut" };
            json!({ "instance": ids[at % DOORS], "event": event })
        })
        .collect();
    let body = json!({ "events": events });
    for _ in 0..TIMES {
        let told = server.post(&ada, "/events/batch", body.clone());
        assert_eq!(told.body["taken"], EACH, "{told:?}");
        for _ in 0..EACH {
            quick.next(&topic, "fsm_state_changed");
        }
        if numbers(&server).contains("\ntraaviis_socket_too_slow_total 1\n") {
            break;
        }
    }
    let code = slow.closed();
    assert_eq!(code, 1013, "after {} frames", slow.heard.len());
    assert!(slow.heard.len() < EACH * TIMES);
    quick.granted("phoenix", "heartbeat", json!({}));
    // It comes again and goes on.
    let mut slow = Channel::open(&server, &ada);
    slow.join(&topic);
    server.send(&ada, &ids[0], "open");
    slow.until(|it| it[3] == "fsm_state_changed" && it[4]["event"] == "open");
}

#[test]
fn rights_that_end_are_felt_within_two_seconds() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let mail = json!({ "mail": "eve@example.org" });
    let id = start_with(&server, &ada, "Door", mail);
    let bob = server.join(&ada, "bob@example.org", "developer");
    let of_bob = server.get(&bob, "/me").text("/id");
    let topic = format!("fsm:{tenant}");
    let mut socket = Channel::open(&server, &bob);
    socket.join(&topic);
    server.send(&ada, &id, "open");
    assert_eq!(socket.next(&topic, "fsm_state_changed")["data"]["mail"], "eve@example.org");

    // What may be seen of data changes without joining again.
    let member = format!("/tenants/current/members/{of_bob}");
    let etag = server.get(&ada, &member).header("etag");
    let rights = json!({ "data_access": { "payloads": "masked", "pii_unmask": false } });
    let head = format!("if-match: {etag}\r\n");
    let told = server.call_with(&ada, "PATCH", &member, &head, rights);
    assert_eq!(told.status, 200, "{told:?}");
    let begun = Instant::now();
    let mut event = ["shut", "open"].into_iter().cycle();
    loop {
        server.send(&ada, &id, event.next().unwrap());
        if socket.next(&topic, "fsm_state_changed")["data"]["mail"] == "[EMAIL]" {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(2));
        // An instance takes so many steps a second, and refuses more.
        std::thread::sleep(Duration::from_millis(10));
    }

    // Out of the tenant, a socket of its token is closed.
    let begun = Instant::now();
    let told = server.call(&ada, "POST", &format!("{member}/suspend"), json!({}));
    assert!(told.status < 300, "{told:?}");
    let activity = format!("user_activity:{of_bob}");
    assert_eq!(socket.next(&activity, "session:revoked")["reason"], "no_tenant_context");
    assert_eq!(socket.closed(), 4001);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());

    // A session that its owner ends, too, also while nobody reads.
    let mut socket = Channel::open(&server, &ada);
    socket.join(&topic);
    let begun = Instant::now();
    server.call(&ada, "POST", "/auth/logout", json!({}));
    assert_eq!(socket.closed(), 4001);
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A message stands for a request, which maintenance refuses and usage counts.
#[test]
fn messages_are_admitted_and_counted_as_the_requests_that_they_stand_for() {
    let world = World::new();
    let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
    let server = Server::with(&world, &["--admin-email", "root@example.org"], &variables);
    let login = json!({ "email": "root@example.org", "password": PASSWORD });
    let root = server.call("", "POST", "/auth/login", login).text("/access_token");
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let fsm = format!("fsm:{tenant}");
    let mut socket = Channel::open(&server, &ada);
    socket.join(&fsm);
    let calls = || {
        let told = server.get(&ada, "/tenants/current/usage");
        let all = told.body["metrics"].as_array().unwrap().iter();
        let found = all.filter(|it| it["metric"] == "api_calls").find_map(|it| it["used"].as_u64());
        found.unwrap()
    };
    let before = calls();
    for _ in 0..3 {
        socket.granted(&fsm, "list_fsms", json!({}));
    }
    assert_eq!(calls(), before + 4, "three messages, and asking for it");
    let maintenance = |on: bool| {
        let asked = json!({ "on": on, "reason": "a new disk" });
        assert_eq!(server.call(&root, "POST", "/admin/maintenance", asked).status, 200);
    };
    let door = json!({ "module": "Door", "config": {} });
    maintenance(true);
    assert_eq!(socket.refused(&fsm, "create_fsm", door.clone()).1, "maintenance");
    assert!(socket.granted(&fsm, "list_fsms", json!({}))["fsms"].is_array(), "reading goes on");
    maintenance(false);
    socket.granted(&fsm, "create_fsm", door);
}

#[test]
fn a_server_that_ends_says_so() {
    let world = World::new();
    let mut server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    let mut socket = Channel::open(&server, &ada);
    socket.join(&format!("fsm:{tenant}"));
    let pid = rustix::process::Pid::from_child(&server.process.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(socket.closed(), 1001);
    server.process.0.wait().unwrap();
}

/// The client that the makers of Phoenix keep: joins, pushes, broadcasts, presence, the end.
#[test]
fn the_client_of_phoenix_speaks_with_it() {
    let folder = npm::folder("phoenix", "phoenix", "the client of Phoenix");
    let Some(folder) = folder else { return };
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, tenant) = owner(&server, "ada@example.org");
    server.publish(&ada, "Door", DOOR);
    let bob = server.join(&ada, "bob@example.org", "developer");
    let mut client = Command::new("node");
    client.arg("client.mjs").args([&server.address, &tenant, &ada, &bob]).current_dir(&folder);
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Process(client.spawn().unwrap());
    let mut lines = {
        use std::io::BufRead as _;
        std::io::BufReader::new(client.0.stdout.take().unwrap()).lines()
    };
    let ready = lines.next().map(|it| it.unwrap());
    if ready.as_deref() != Some("ready to be ended") {
        let mut why = String::new();
        client.0.stderr.take().unwrap().read_to_string(&mut why).unwrap();
        panic!("{ready:?}: {why}");
    }
    client.0.stdin.take().unwrap().write_all(b"end\n").unwrap();
    server.call(&ada, "POST", "/auth/logout", json!({}));
    let told: Vec<String> = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        told,
        [
            "joined true, 1 there",
            "created true",
            "changed shut -> ajar",
            "refused unknown_event",
            "two are present",
            "one is left true",
            "replayed from 1 to the change",
            "left true",
            "destroyed true",
            "closed 4001",
        ]
    );
}

#[test]
fn a_goodbye_is_answered_so_that_a_client_does_not_take_it_for_a_broken_line() {
    let world = World::new();
    let server = Server::serve(&world);
    let (ada, _) = owner(&server, "ada@example.com");
    for code in [1000_u16, 4000] {
        let mut channel = Channel::open(&server, &ada);
        let [high, low] = code.to_be_bytes();
        // Masked with zeros, which changes nothing of it.
        channel.stream.write_all(&[0x88, 0x82, 0, 0, 0, 0, high, low]).unwrap();
        assert_eq!(channel.closed(), code);
    }
}
