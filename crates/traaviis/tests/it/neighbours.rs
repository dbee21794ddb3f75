//! What goes wrong in one tenant, which no other notices.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use serde_json::json;

use crate::{
    cli::World,
    server::{PASSWORD, Server},
};

/// Longest wait for a message; reached only by a defect.
const PATIENCE: Duration = Duration::from_secs(60);

const DOOR: &str = r#"traaviis: "1"
name: Door
version: 1.0.0
initial: open
events: {shut: {}}
states:
  open: {on: {shut: shut}}
  shut: {type: final}
"#;

/// Takes whatever comes; tells the first line of each request.
fn receiver() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let Some(line) = answered(stream) else { continue };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (address, told)
}

fn answered(mut stream: TcpStream) -> Option<String> {
    let mut bytes = [0; 4_096];
    let read = stream.read(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()?;
    text.lines().next().map(str::to_owned)
}

/// Writes nonsense into every key of a subject in a folder; returns how many there were.
fn damage(dir: &Path) -> usize {
    let mut count = 0;
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, is_dir) = (entry.path(), entry.file_type().unwrap().is_dir());
        // Keys of subjects stand in folders below that of their tenant.
        if is_dir {
            for key in fs::read_dir(&path).unwrap().map(Result::unwrap) {
                fs::write(key.path(), "{").unwrap();
                count += 1;
            }
        }
    }
    count
}

#[test]
fn a_webhook_whose_key_is_damaged_keeps_no_other_from_being_told() {
    let (address, told) = receiver();
    let world = World::new();
    let more = ["--allow-private", address.as_str()];
    let server = Server::with(&world, &more, &[]);
    let login = |server: &Server, email: &str| {
        let body = json!({ "email": email, "password": PASSWORD });
        server.call("", "POST", "/auth/login", body).text("/access_token")
    };
    let ends = |server: &Server, who: &str| {
        let id = server.start(who, "Door");
        assert_eq!(server.send(who, &id, "shut").status, 200);
    };
    let mut tenants = Vec::new();
    for name in ["ada", "bob"] {
        let who = server.register(&format!("{name}@example.org"));
        server.publish(&who, "Door", DOOR);
        let url = format!("http://{address}/{name}");
        let made = server.post(&who, "/webhooks", json!({ "url": url, "events": ["finished"] }));
        assert_eq!(made.status, 201, "{made:?}");
        tenants.push(server.get(&who, "/tenants/current").text("/id"));
    }
    server.stop();
    assert_eq!(damage(&world.path("data/system/keys").join(&tenants[0])), 1);

    let server = Server::with(&world, &more, &[]);
    let (ada, bob) = (login(&server, "ada@example.org"), login(&server, "bob@example.org"));
    ends(&server, &ada);
    ends(&server, &bob);
    let line = told.recv_timeout(PATIENCE).unwrap();
    assert!(line.starts_with("POST /bob "), "{line}");
}
