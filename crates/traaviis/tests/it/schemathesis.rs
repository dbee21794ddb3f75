//! A client that tries what the description of the interface allows, and what it forbids:
//! schemathesis, from PyPI, in all its phases against the served binary.
//!
//! Whatever it sends, no answer is a defect of the server, and each is one that is described; what
//! is formed as it is described is taken, or refused for what it means.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cli::World,
    npm::skip,
    server::{PASSWORD, Server},
};

/// Who looks after the platform; `hooks.py` logs in as them.
const ADMIN: &str = "root@example.org";
/// What would let everybody be refused from then on.
const LEFT_OUT: [&str; 3] = ["AdminMaintain", "AdminChangeUser", "AdminRotateKeys"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/schemathesis")
}

/// Returns the program, which is installed once; or says why it is not there.
fn program() -> Option<PathBuf> {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let program = home.join("bin/schemathesis");
    if program.exists() {
        return Some(program);
    }
    let run = |command: &mut Command| match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    };
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&home));
    let requirements = folder().join("requirements.txt");
    let installed = made.and_then(|()| {
        let pip = home.join("bin/pip");
        run(Command::new(pip).args(["install", "--quiet", "--requirement"]).arg(requirements))
    });
    match installed {
        Ok(()) => Some(program),
        Err(why) => {
            skip(&format!("schemathesis cannot be installed from PyPI: {why}"));
            None
        }
    }
}

/// `SCHEMATHESIS_EXAMPLES` asks for more than a look at each operation.
#[test]
fn schemathesis_finds_that_the_description_is_kept() {
    let Some(program) = program() else { return };
    let world = World::new();
    let arguments = ["--admin-email", ADMIN];
    let server = Server::with(&world, &arguments, &[("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)]);
    let base = format!("http://{}", server.address);
    let examples = std::env::var("SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| "2".into());
    let mut command = Command::new(program);
    command
        .args(["--no-color", "--config-file"])
        .arg(folder().join("schemathesis.toml"))
        .args(["run", &format!("{base}/api/v1/openapi.json")])
        .args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", &examples])
        .args(["--continue-on-failure", "--request-timeout", "20", "--warnings", "off"])
        .args(LEFT_OUT.iter().flat_map(|it| ["--exclude-operation-id", *it]))
        .env("TRAAVIIS_SERVER", &base)
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("PYTHONPATH", folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(world.path(""));
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    // A phase that could not be carried out would find nothing.
    for phase in ["Examples", "Coverage", "Fuzzing", "Stateful"] {
        assert!(told.contains(&format!("✅ {phase}\n")), "{told}");
    }
}
