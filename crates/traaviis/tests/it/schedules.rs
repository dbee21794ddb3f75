//! `run --triggers` and `schedules`: times become runs, each once, whatever happens to the process.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use expect_test::expect;
use serde_json::Value;

use crate::cli::{Process, World, wait_until};

/// Ends at once, with the time that it was for.
const REPORT: &str = r#"
traaviis: "1"
name: Report
version: 1.0.0
input: {schema: {type: object, required: [region, time], properties: {region: {type: string}, time: {type: string}}}}
triggers:
  - {type: schedule, cron: "* * * * * *", timezone: Europe/Berlin, input: {region: north}, time_as: time, overlap: queue, catch_up: all}
initial: done
states:
  done: {type: final, output: "${input.time}"}
"#;

fn json(world: &World, arguments: &[&str]) -> Value {
    let output = world.run(arguments);
    serde_json::from_slice(&output.stdout).expect("JSON is printed")
}

fn keep(world: &World) -> Process {
    let mut command = world.command(&["run", "report.yaml", "--data", "d", "--triggers"]);
    Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// The times that runs were for.
fn runs(world: &World) -> Vec<String> {
    let listed = json(world, &["ps", "--all", "--json", "--data", "d"]);
    let instances = listed["instances"].as_array().unwrap().iter();
    let ids =
        instances.filter(|it| it["workflow"] == "Report").map(|it| it["id"].as_str().unwrap());
    let time = |id: &str| {
        let shown = json(world, &["show", id, "--json", "--data", "d"]);
        shown["snapshot"]["input"]["time"].as_str().unwrap().to_string()
    };
    ids.map(time).collect()
}

fn schedules(world: &World) -> Vec<Value> {
    let listed = json(world, &["schedules", "--json", "--data", "d", "--next", "2"]);
    listed["schedules"].as_array().unwrap().clone()
}

fn has_runs(world: &World, count: usize) -> bool {
    Path::new(&world.path("d/log")).is_dir() && {
        let listed = world.run(&["ps", "--all", "--json", "--data", "d"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap_or_default();
        let ended = |it: &&Value| it["workflow"] == "Report" && it["status"] == "completed";
        listed["instances"].as_array().is_some_and(|it| it.iter().filter(ended).count() >= count)
    }
}

#[test]
fn a_schedule_misses_no_time_and_runs_for_none_twice_over_kills() {
    let world = World::new().file("report.yaml", REPORT);
    for round in 1..=4 {
        let process = keep(&world);
        wait_until("a run more has ended", || has_runs(&world, round * 2));
        drop(process);
        // Some times pass while nobody is there.
        std::thread::sleep(Duration::from_millis(1_500));
    }
    let process = keep(&world);
    wait_until("the schedule has caught up", || has_runs(&world, 12));
    drop(process);
    let times = runs(&world);
    let distinct: BTreeSet<&String> = times.iter().collect();
    assert_eq!(distinct.len(), times.len(), "a time was run for twice: {times:?}");
    let second = |text: &String| -> i64 {
        let time: traaviis_model::Timestamp = text.parse().unwrap();
        time.0 / 1_000_000
    };
    let (first, last) = (second(distinct.first().unwrap()), second(distinct.last().unwrap()));
    assert_eq!(times.len() as i64, last - first + 1, "a time is missing: {times:?}");
    let schedules = schedules(&world);
    assert_eq!(schedules.len(), 1, "the process that came back went on with the same schedule");
    assert_eq!(schedules[0]["next"].as_array().unwrap().len(), 2);
    assert_eq!(schedules[0]["times"], "* * * * * * (Europe/Berlin)");
}

#[test]
fn what_changes_in_the_file_changes_the_schedules() {
    let world = World::new().file("report.yaml", REPORT);
    drop({
        let process = keep(&world);
        wait_until("a run has ended", || has_runs(&world, 1));
        process
    });
    let before = schedules(&world)[0]["id"].clone();
    let world = world.file("report.yaml", &REPORT.replace("region: north", "region: south"));
    drop({
        let process = keep(&world);
        wait_until("the other schedule is there", || {
            schedules(&world).iter().any(|it| it["id"] != before)
        });
        process
    });
    let listed = json(&world, &["ps", "--all", "--json", "--data", "d"]);
    let old = listed["instances"].as_array().unwrap().iter().find(|it| it["id"] == before).unwrap();
    assert_eq!(old["status"], "cancelled");
    assert_eq!(schedules(&world).len(), 1);
}

#[test]
fn what_could_not_run_is_told_before_anything_begins() {
    let world = World::new()
        .file("report.yaml", &REPORT.replace("time_as: time", "time_as: tyme"))
        .file("none.yaml", &REPORT.replace("triggers:", "x-triggers:"));
    world.check("run report.yaml --data d --triggers", expect![[r#"
        exit 1
        error: /triggers/0: a run could not start: the input does not fit the schema of workflow `Report`: /: "time" is a required property (input_invalid)
    "#]]);
    world.check("run none.yaml --data d --triggers", expect![[r#"
        exit 2
        error: workflow `Report` has no `triggers` that start it by themselves; write for example `triggers: [{type: schedule, cron: "0 7 * * *"}]` (no_triggers)
    "#]]);
    world.check(
        "run report.yaml --triggers",
        expect![[r#"
        exit 2
        error: the following required arguments were not provided:
          --data <DIR>

        Usage: traaviis run --data <DIR> --triggers <FILE>

        For more information, try '--help'.
    "#]],
    );
    world.check(
        "schedules --data d",
        expect![[r#"
        exit 0
        no schedules in `d`; `traaviis run FILE --triggers` starts them
    "#]],
    );
}
