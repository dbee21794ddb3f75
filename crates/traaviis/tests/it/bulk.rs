//! One operation on many instances.

use expect_test::expect;

use crate::cli::World;

const DOOR: &str = crate::cli::DOOR;

fn doors(count: usize) -> World {
    let world = World::new().file("door.yaml", DOOR);
    for at in 0..count {
        let input = format!(r#"{{"at": {at}}}"#);
        let run = world.run(&["run", "door.yaml", "--input", &input, "--data", "d"]);
        assert_eq!(run.status.code(), Some(1), "{}", world.shown(&run));
    }
    world
}

#[test]
fn a_job_is_planned_stopped_and_gone_on_with() {
    let world = doors(3);
    world.check("bulk pause --data d", expect![[""]]);
    world.check("bulk pause --status dancing --data d", expect![[""]]);
    world.check("bulk send open --workflow door --dry-run --data d", expect![[""]]);
    world.check("bulk send lock --workflow door --max-failures 2 --data d", expect![[""]]);
    let jobs: Vec<_> = std::fs::read_dir(world.path("d/jobs")).unwrap().collect();
    let job = jobs[0].as_ref().unwrap().path();
    let job = job.file_stem().unwrap().to_str().unwrap();
    world.check(&format!("bulk continue {job} --data d"), expect![[""]]);
    world.check("bulk continue absent --data d", expect![[""]]);
    world.check("bulk send open --all --data d", expect![[""]]);
    world.check("bulk cancel --state opened --dry-run --data d", expect![[""]]);
    world.check("bulk pause --state closed --data d", expect![[""]]);
    world.check("bulk retry --all --data d", expect![[""]]);
    world.check("bulk cancel --all --rate 1000 --data d", expect![[""]]);
}

#[test]
fn histories_are_exported_and_decided_again_elsewhere() {
    let world = doors(2);
    world.check("export --workflow Door --out e.jsonl --data d", expect![[""]]);
    world.check("export --all --out e.jsonl --data d", expect![[""]]);
    world.check("replay e.jsonl", expect![[""]]);
    let events = world.run(&["export", "--all", "--format", "cloudevents", "--data", "d"]);
    let text = String::from_utf8(events.stdout).unwrap();
    let first: serde_json::Value = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(first["type"], "traaviis.created");
    assert_eq!(first["data"]["kind"], "created");
}
