//! Secrets and keys through the whole binary: told to peers, and found in no file.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use expect_test::expect;
use serde_json::Value as Json;

use crate::cli::{PURE, Process, World, wait_for_socket, wait_until};

const ASKING: &str = r#"
traaviis: "1"
name: Asking
version: 1.0.0
initial: waiting
data: {initial: {got: [], why: ""}}
events: {go: {}, stop: {}}
states:
  waiting:
    on: {go: calling, stop: done}
  calling:
    invoke:
      - id: ask
        effect:
          type: call_api
          url: "http://PEER/"
          headers: {x-stripe: "${secret('stripe')}", x-api: "${secret('api')}"}
          response: text
        onDone: {target: waiting, actions: [{assign: {got: "${data.got + [event.data]}"}}, {log: {message: "told", data: "${event.data}"}}]}
        onError: {target: waiting, actions: [{assign: {why: "${event.data.code + ': ' + event.data.message}"}}]}
  done: {type: final, output: "${data.got}"}
"#;

/// What must be found in no file. The second value is given after the first.
const CANARIES: [&str; 2] = ["sk_live_canary_51Hx/first", "sk_live_canary_51Hx/second"];
/// They begin the same, so that a part of one would be found, too.
const CANARY: &str = "sk_live_canary";

/// Answers every request with the request, so that an answer holds what was sent; remembers all.
struct Peer {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn start() -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (mut text, mut piece) = (String::new(), [0; 4096]);
                while !text.contains("\r\n\r\n") {
                    let read = stream.read(&mut piece).unwrap();
                    text.push_str(str::from_utf8(&piece[..read]).unwrap());
                }
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nconnection: close";
                let reply = format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                // Remembered first: whoever sees the answer finds the question.
                heard.lock().unwrap().push(text);
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        Peer { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// Runs a command with something on its standard input.
fn fed(world: &World, line: &str, input: &str) -> Output {
    let arguments: Vec<&str> = line.split(' ').collect();
    let mut command = world.command(&arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn set(world: &World, name: &str, value: &str) {
    let output = fed(world, &format!("secrets set {name} --data d"), &format!("{value}\n"));
    assert!(output.status.success(), "{}", world.shown(&output));
}

/// Returns the files below a folder that hold a text, as it is or in base64 or hexadecimal digits.
fn holding(folder: &Path, text: &str) -> Vec<PathBuf> {
    let hex: String = text.bytes().map(|it| format!("{it:02x}")).collect();
    let base64 = traaviis_model::value::base64(&text.as_bytes()[..text.len() / 3 * 3]);
    let forms = [text.to_owned(), hex, base64];
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if let Ok(bytes) = fs::read(&path)
            && forms.iter().any(|form| bytes.windows(form.len()).any(|it| it == form.as_bytes()))
        {
            found.push(path);
        }
    }
    found
}

/// Returns the key in the file that the binary made.
fn root_key(world: &World) -> String {
    let text = fs::read_to_string(world.path("config/traaviis/root.key")).unwrap();
    text.lines().find(|it| !it.starts_with('#')).unwrap().to_owned()
}

#[test]
fn canaries_reach_the_peer_and_rest_in_no_file() {
    let peer = Peer::start();
    let asking = ASKING.replace("PEER", &peer.address.to_string());
    let world = World::new().file("asking.yaml", &asking);
    set(&world, "stripe", CANARIES[0]);
    let address = peer.address.to_string();
    let run = ["run", "asking.yaml", "--data", "d", "--wait", "--tree", "eager"];
    let mut command = world.command(&[&run[..], &["--allow-private", &address]].concat());
    let told = fs::File::create(world.path("told.txt")).unwrap();
    command.stdout(told.try_clone().unwrap()).stderr(told);
    command.env("TRAAVIIS_SECRET_API", "sk_live_canary_of_the_environment");
    // The data directory comes first.
    command.env("TRAAVIIS_SECRET_STRIPE", "another");
    let mut process = Process(command.spawn().unwrap());
    wait_for_socket(&world.path("d"));
    let mut id = String::new();
    wait_until("the instance is there", || {
        let listed = world.json("ps --data d");
        listed["instances"][0]["id"].as_str().inspect(|it| id = (*it).to_owned()).is_some()
    });
    let got = |count: usize| {
        wait_until("the answer is taken", || {
            let shown = world.json(&format!("show {id} --data d"));
            assert_eq!(shown["snapshot"]["data"]["why"], "", "{shown}");
            shown["snapshot"]["data"]["got"].as_array().is_some_and(|it| it.len() == count)
        });
    };
    assert!(world.run(&["send", &id, "go", "--data", "d"]).status.success());
    got(1);

    // A process that runs takes what changes beside it: another value, and other keys.
    let first_root = root_key(&world);
    set(&world, "stripe", CANARIES[1]);
    for line in ["keys rotate --data d", "keys rotate --root --data d"] {
        let output = world.run(&line.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{}", world.shown(&output));
    }
    assert!(world.run(&["send", &id, "go", "--data", "d"]).status.success());
    got(2);
    let asked = peer.asked();
    for (request, canary) in asked.iter().zip(CANARIES) {
        assert!(request.contains(&format!("x-stripe: {canary}\r\n")), "{request}");
        assert!(request.contains("x-api: sk_live_canary_of_the_environment\r\n"), "{request}");
    }
    assert_eq!(asked.len(), 2);

    assert!(world.run(&["backup", "b", "--data", "d"]).status.success());
    assert!(world.run(&["send", &id, "stop", "--data", "d"]).status.success());
    process.0.wait().unwrap();
    // The log, unpacked: what the peer sent back is there, without the secret in it.
    let records = world.run(&["log", "cat", "d"]).stdout;
    fs::write(world.path("records.txt"), &records).unwrap();
    assert!(String::from_utf8_lossy(&records).contains("x-stripe: ***"));
    for line in ["secrets list --data d", "keys list --data d", "doctor --data d", "ps --data d"] {
        let output = world.run(&[line, "--json"].join(" ").split(' ').collect::<Vec<_>>());
        fs::write(world.path(&line.replace(' ', "_")), world.shown(&output)).unwrap();
        fs::write(world.path(&line.replace(' ', "-")), &output.stdout).unwrap();
    }
    assert_eq!(holding(world.path(".").as_path(), CANARY), Vec::<PathBuf>::new());
    for key in [&first_root, &root_key(&world)] {
        let held = holding(world.path(".").as_path(), key);
        assert_eq!(held, [world.path("./config/traaviis/root.key")]);
    }
    // What is looked for would be found.
    let form = traaviis_model::value::base64(format!("{CANARY}_x").as_bytes());
    fs::write(world.path("d/planted"), form).unwrap();
    assert_eq!(holding(&world.path("d"), CANARY), [world.path("d/planted")]);
}

#[test]
fn secrets_are_set_listed_and_deleted_and_never_shown() {
    let world = World::new();
    world.check(
        "secrets list --data d",
        expect![[r#"
            exit 0
            no secrets in `d`
        "#]],
    );
    assert!(!world.path("d").exists());
    let output = fed(&world, "secrets set stripe --data d", CANARIES[0]);
    expect![[r#"
        exit 0
        secret `stripe` is set, version 1
    "#]]
    .assert_eq(&world.shown(&output));
    set(&world, "stripe", CANARIES[1]);
    fs::write(world.path("key.pem"), "-----BEGIN-----\r\nabc\r\n").unwrap();
    world.check(
        "secrets set cert --file key.pem --data d",
        expect![[r#"
            exit 0
            secret `cert` is set, version 1
        "#]],
    );
    world.check(
        "secrets list --data d",
        expect![[r#"
            exit 0
            NAME    VERSION  SET                          KEY
            cert    1        TIME  1
            stripe  2        TIME  1
        "#]],
    );
    world.check(
        "secrets delete stripe --data d",
        expect![[r#"
            exit 0
            secret `stripe` is deleted
        "#]],
    );
    world.check(
        "secrets delete stripe --data d",
        expect![[r#"
            exit 1
            error: secret `stripe` is not set; `traaviis secrets list` shows which are (secret_missing)
        "#]],
    );
    // A process without a value to read, and values that are none.
    world.check(
        "secrets set stripe --data d",
        expect![[r#"
            exit 2
            error: a secret is text of 1 to 65536 bytes (secret_refused)
        "#]],
    );
    world.check(
        "secrets set Stripe --data d --file key.pem",
        expect![[r#"
            exit 2
            error: `Stripe` cannot name a secret; use a small letter, then small letters, digits and `_`, at most 63 characters (secret_refused)
        "#]],
    );
    let long = fed(&world, "secrets set long --data d", &"x".repeat(65_537));
    assert!(world.shown(&long).contains("secret_refused"), "{}", world.shown(&long));
    fs::write(world.path("raw"), [0xff, 0xfe]).unwrap();
    let raw = world.run(&["secrets", "set", "raw", "--data", "d", "--file", "raw"]);
    assert!(world.shown(&raw).contains("file_not_utf8"), "{}", world.shown(&raw));
    // No argument takes a value.
    let argued = world.run(&["secrets", "set", "stripe", "value", "--data", "d"]);
    assert_eq!(argued.status.code(), Some(2));
    // A directory that began with a secret is one that runs.
    let world = world.file("pure.yaml", PURE);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
}

#[test]
fn keys_are_listed_and_renewed() {
    let world = World::new();
    let listed = world.shown(&world.run(&["keys", "list", "--data", "d"]));
    assert!(listed.contains("none yet") && listed.contains("no keys yet"), "{listed}");
    let early = world.run(&["keys", "rewrap", "--data", "d"]);
    assert_eq!(early.status.code(), Some(3), "{}", world.shown(&early));

    set(&world, "stripe", CANARIES[0]);
    let shape = |world: &World| {
        let listed = world.json("keys list --data d");
        let roots = listed["root"]["keys"].as_array().unwrap();
        let at = |root: &Json| roots.iter().position(|it| it == root);
        let keys = listed["keys"].as_array().unwrap().iter();
        let keys = keys.map(|it| {
            let state = if it["is_newest"] == true { "seals" } else { "opens" };
            format!("{} {state} {} root {:?}", it["version"], it["secrets"], at(&it["root"]))
        });
        (roots.len(), keys.collect::<Vec<_>>())
    };
    assert_eq!(shape(&world), (1, vec!["1 seals 1 root Some(0)".into()]));
    world.check(
        "keys rotate --data d",
        expect![[r#"
            exit 0
            version 2 of the key seals from now on; secrets sealed with it: 1
        "#]],
    );
    let rotated = vec!["1 opens 0 root Some(0)".to_owned(), "2 seals 1 root Some(0)".to_owned()];
    assert_eq!(shape(&world), (1, rotated.clone()));
    let output = world.run(&["keys", "rotate", "--root", "--data", "d"]);
    assert!(world.shown(&output).contains("keys wrapped anew: 2"), "{}", world.shown(&output));
    assert_eq!(shape(&world), (2, rotated));
    let listed = world.shown(&world.run(&["keys", "list", "--data", "d"]));
    assert!(!listed.contains(&root_key(&world)[..16]), "{listed}");

    // From the environment.
    let other = "0123456789abcdef".repeat(4);
    let with = |text: &str, line: &str| {
        let mut command = world.command(&line.split(' ').collect::<Vec<_>>());
        let output = command.env("TRAAVIIS_ROOT_KEY", text).output().unwrap();
        (output.status.code(), world.shown(&output))
    };
    let (code, shown) = with(&other, "keys list --data d");
    assert!(code == Some(1) && shown.contains("(missing)"), "{shown}");
    let (code, shown) = with(&other, "doctor --data d");
    assert!(code == Some(1) && shown.contains("bring back the root key"), "{shown}");
    let (code, shown) = with(&other, "keys rotate --root --data d");
    assert!(code == Some(2) && shown.contains("traaviis keys rewrap"), "{shown}");
    let (code, shown) = with("hunter2", "keys rewrap --data d");
    assert!(code == Some(1) && shown.contains("root_key_invalid"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
    // A file that is gone is not one that is still to be made.
    let file = world.path("config/traaviis/root.key");
    fs::rename(&file, world.path("aside")).unwrap();
    let shown = world.shown(&world.run(&["keys", "list", "--data", "d"]));
    assert!(shown.contains("root key: missing") && shown.contains("(missing)"), "{shown}");
    fs::rename(world.path("aside"), &file).unwrap();
    let both = format!("{other},{}", root_key(&world));
    let (code, shown) = with(&both, "keys rewrap --data d");
    assert!(code == Some(0) && shown.contains("wrapped anew: 2"), "{shown}");
    let (code, shown) = with(&other, "doctor --data d");
    assert!(shown.contains("1, each opens with its key"), "{code:?} {shown}");
}

#[test]
fn a_backup_holds_sealed_secrets_and_no_root_key() {
    let world = World::new().file("pure.yaml", PURE);
    assert!(world.run(&["run", "pure.yaml", "--data", "d"]).status.success());
    set(&world, "stripe", CANARIES[0]);
    assert!(world.run(&["backup", "b", "--data", "d"]).status.success());
    assert_eq!(holding(&world.path("b"), &root_key(&world)), Vec::<PathBuf>::new());
    assert_eq!(holding(&world.path("b"), CANARY), Vec::<PathBuf>::new());
    // Keys are copied after what they seal, which may be sealed anew meanwhile.
    let manifest = fs::read_dir(world.path("b/manifests")).unwrap().next().unwrap().unwrap();
    let manifest: Json = serde_json::from_slice(&fs::read(manifest.path()).unwrap()).unwrap();
    let files = manifest["body"]["files"].as_array().unwrap();
    let at = |part: &str| files.iter().position(|it| it["path"].as_str().unwrap().contains(part));
    assert!(at("/secrets/stripe.json") < at("system/keys/"), "{files:?}");
    assert_eq!(at("system/keys/"), Some(files.len() - 1));
    // A rotation after the backup takes nothing from it, while the file of root keys stays.
    for line in ["keys rotate --data d", "keys rotate --root --data d"] {
        assert!(world.run(&line.split(' ').collect::<Vec<_>>()).status.success());
    }
    assert!(world.run(&["backup", "verify", "b", "--against", "d"]).status.success());
    let restored = world.shown(&world.run(&["restore", "b", "--data", "r"]));
    let needed = world.json("backup list b")["backups"][0]["root_keys"].clone();
    // The one before the rotation, which stands second now.
    assert_eq!(needed[0], world.json("keys list --data d")["root"]["keys"][1]);
    let told = format!("need the root key `{}`", needed[0].as_str().unwrap());
    assert!(needed.as_array().unwrap().len() == 1 && restored.contains(&told), "{restored}");
    let shown = world.shown(&world.run(&["doctor", "--data", "r"]));
    assert!(shown.contains("1, each opens with its key"), "{shown}");

    // Somewhere else, without the root key, it does not open; nothing is made in its place.
    fs::rename(world.path("config"), world.path("elsewhere")).unwrap();
    let shown = world.shown(&world.run(&["doctor", "--data", "r"]));
    assert!(shown.contains("the root key is missing"), "{shown}");
    let refused = fed(&world, "secrets set other --data r", "x");
    assert_eq!(refused.status.code(), Some(3), "{}", world.shown(&refused));
    assert!(!world.path("config/traaviis/root.key").exists());
}

#[test]
fn a_call_whose_secret_cannot_be_read_fails_and_says_why() {
    let peer = Peer::start();
    let asking = ASKING.replace("PEER", &peer.address.to_string());
    let asking = asking.replace(r#", x-api: "${secret('api')}""#, "");
    let world = World::new().file("asking.yaml", &asking);
    set(&world, "stripe", CANARIES[0]);
    let key = world.path("config/traaviis/root.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let address = peer.address.to_string();
    let output = world.run(&[
        "run",
        "asking.yaml",
        "--data",
        "d",
        "--allow-private",
        &address,
        "--event",
        "go",
    ]);
    let shown = world.shown(&output);
    let records = world.run(&["log", "cat", "d"]).stdout;
    let why = shown + &String::from_utf8_lossy(&records);
    assert!(why.contains("secret_unreadable") && why.contains("its mode is 644"), "{why}");
    assert_eq!(peer.asked().len(), 0);
}
