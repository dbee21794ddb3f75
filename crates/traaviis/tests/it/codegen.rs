//! Code for programs: that it compiles where a compiler is at hand, and works with a server.

use std::process::{Command, Stdio};

use serde_json::json;

use crate::{cli::World, server::Server};

const SHOP: &str = r#"
traaviis: "1"
name: Shop
version: 1.2.0
input:
  schema:
    type: object
    required: [order]
    properties: {order: {type: string}, amount: {type: number}}
data: {initial: {order: "${input.order}"}}
events:
  pay: {schema: {type: object, required: [by], properties: {by: {type: string}}}}
  stop: {}
initial: open
states:
  open: {on: {pay: {target: paid, actions: [{assign: {by: "${event.data.by}"}}]}, stop: paid}}
  paid: {type: final, output: {by: "${data.by}"}}
"#;

/// What a program does with the client that is made for it.
const PROGRAM: &str = r#"
import sys
from shop import Client, Refused

client = Client(sys.argv[1], sys.argv[2])
started = client.start({"order": "A-1", "amount": 2.5})
print(started["status"], started["state"])
print(client.query(started["id"], "data.order"))
try:
    client.send_pay(started["id"], {"by": 7})
except Refused as refused:
    print(refused.status, refused.code)
print(client.send_pay(started["id"], {"by": "Ada"})["output"])
print(client.show(started["id"])["states"])
"#;

fn is_there(program: &str) -> bool {
    let asked = Command::new(program).arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|it| it.success())
}

#[test]
fn a_program_works_with_the_client_that_a_server_gives_it() {
    let world = World::new();
    let server = Server::serve(&world);
    let ada = server.register("ada@example.com");
    server.publish(&ada, "Shop", SHOP);
    let told = server.get(&ada, "/tenants/current/workflows/Shop/code?lang=python");
    assert_eq!((told.status, told.text("/version").as_str()), (200, "1.2.0"), "{told:?}");
    // The command line writes the same.
    let world = world.file("shop.yaml", SHOP);
    let code = world.good("codegen shop.yaml --lang python")["code"].clone();
    assert_eq!(json!(told.text("/code")), code);
    for (query, status) in [
        ("", 200),
        ("?lang=rust&version=1.2.0", 200),
        ("?lang=yaml", 200),
        ("?lang=cobol", 422),
        ("?version=9.9.9", 404),
    ] {
        let told = server.get(&ada, &format!("/tenants/current/workflows/Shop/code{query}"));
        assert_eq!(told.status, status, "{query}: {told:?}");
    }
    if !is_there("python3") {
        return;
    }
    let world = world.file("shop.py", &told.text("/code")).file("program.py", PROGRAM);
    let output = Command::new("python3")
        .args(["program.py", &format!("http://{}", server.address), &ada])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    assert_eq!(
        world.shown(&output),
        "exit 0\nrunning open\nA-1\n422 event_payload_invalid\n{'by': 'Ada'}\n['paid']\n"
    );
}

#[test]
fn code_of_odd_names_is_taken_by_every_compiler_that_is_there() {
    let odd = include_str!("../../../traaviis-design/tests/codegen/odd.yaml");
    let world = World::new().file("odd.yaml", odd).file("shop.yaml", SHOP);
    for name in ["odd", "shop"] {
        for (lang, ending) in [("python", "py"), ("typescript", "ts"), ("rust", "rs")] {
            let file = format!("{name}.{ending}");
            let line = format!("codegen {name}.yaml --lang {lang} --output {file}");
            assert_eq!(world.good(&line)["file"], file);
        }
        let check = |program: &str, arguments: &[&str]| {
            if !is_there(program) {
                return;
            }
            let mut command = Command::new(program);
            let output = command.args(arguments).current_dir(world.path("")).output().unwrap();
            assert!(output.status.success(), "{program} {name}: {}", world.shown(&output));
        };
        check("python3", &["-m", "py_compile", &format!("{name}.py")]);
        check("python3", &[&format!("{name}.py")]);
        check("mypy", &["--strict", "--python-version", "3.11", &format!("{name}.py")]);
        let strict = ["--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom"];
        check("tsc", &[&strict[..], &[&*format!("{name}.ts")]].concat());
    }
    // As YAML it is the document.
    let yaml = world.good("codegen shop.yaml --lang yaml")["code"].as_str().unwrap().to_owned();
    let world = world.file("again.yaml", &yaml);
    let hash = |file: &str| world.good(&format!("validate {file}"))["hash"].clone();
    assert_eq!(hash("again.yaml"), hash("shop.yaml"));
}
