//! Which server commands ask: a flag, a variable, the last login.

use serde_json::Value as Json;

use crate::{
    cli::World,
    server::{PASSWORD, Server},
};

/// Runs a command; returns how it ended and what it told.
fn run(world: &World, variable: Option<&Server>, line: &str) -> (i32, Json, String) {
    let mut command = world.command(&line.split(' ').collect::<Vec<_>>());
    command.env("TRAAVIIS_PASSWORD", PASSWORD).env_remove("TRAAVIIS_TOKEN").arg("--json");
    match variable {
        Some(server) => command.env("TRAAVIIS_SERVER", address(server)),
        None => command.env_remove("TRAAVIIS_SERVER"),
    };
    let output = command.output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let why = [output.stdout, output.stderr].concat();
    let why = String::from_utf8_lossy(&why).into_owned();
    (output.status.code().unwrap_or(-1), told, why)
}

fn address(server: &Server) -> String {
    format!("http://{}", server.address)
}

#[test]
fn a_flag_comes_before_a_variable_and_that_before_the_last_login() {
    let (world, other) = (World::new(), World::new());
    let (one, two) = (Server::serve(&world), Server::serve(&other));
    let register = "login ada@example.org --register";
    let (code, told, why) = run(&world, Some(&one), register);
    assert_eq!((code, &told["server"]), (0, &Json::from(address(&one))), "{why}");
    let me = |variable| run(&world, variable, "api GET /me");
    assert_eq!(me(None).0, 0, "the last login says where");
    assert_eq!(me(Some(&one)).0, 0);
    // What was given out by one server is not told to another.
    let (code, _, why) = me(Some(&two));
    assert_eq!(code, 4, "{why}");
    assert!(why.contains(&address(&one)) && why.contains(&address(&two)), "{why}");
    let flag = |server: &Server| format!("api GET /me --server {}", address(server));
    assert_eq!(run(&world, Some(&two), &flag(&one)).0, 0);
    assert_eq!(run(&world, Some(&one), &flag(&two)).0, 4);

    let line = format!("{register} --server {}/", address(&two));
    let (code, told, why) = run(&world, Some(&one), &line);
    assert_eq!((code, &told["server"]), (0, &Json::from(address(&two))), "{why}");
    let (code, told, why) = run(&world, None, "login ada@example.org");
    assert_eq!((code, &told["server"]), (0, &Json::from(address(&two))), "{why}");
    assert_eq!(run(&world, None, &flag(&two)).0, 0);

    let mut command = world.command(&["api", "GET", "/me"]);
    let output = command.env("TRAAVIIS_TOKEN", "x").env_remove("TRAAVIIS_SERVER").output().unwrap();
    let why = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{why}");
    assert!(why.contains("--server"), "{why}");
}
