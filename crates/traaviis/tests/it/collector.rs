//! Numbers and log lines that a collector is sent, read as the messages of OTLP that they are; and
//! the guide, which names every number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU32, Ordering},
};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data, number_data_point},
};
use prost::Message;
use serde_json::json;

use crate::{
    cli::{World, wait_until},
    observed::{Sent, Server, ask, collector, collector_answering, end, parse, serve},
};

/// Messages that were sent to a path.
fn sent_to<M: Message + Default>(sent: &Sent, path: &str) -> Vec<M> {
    let begins = format!("POST {path} ");
    let sent = sent.lock().unwrap();
    let to = sent.iter().filter(|it| it.0.starts_with(&begins));
    to.map(|(head, body)| {
        assert!(head.to_lowercase().contains("content-type: application/x-protobuf"), "{head}");
        M::decode(&**body).unwrap()
    })
    .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|it| it.value.as_ref()) {
        Some(Value::StringValue(it)) => it.clone(),
        Some(Value::IntValue(it)) => it.to_string(),
        other => format!("{other:?}"),
    }
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes.iter().map(|it| (it.key.clone(), text(it.value.as_ref()))).collect()
}

fn records(sent: &Sent) -> Vec<LogRecord> {
    let requests = sent_to::<ExportLogsServiceRequest>(sent, "/v1/logs").into_iter();
    let resources = requests.flat_map(|it| it.resource_logs);
    let mut all = Vec::new();
    for resource in resources {
        let of = texts(&resource.resource.unwrap().attributes);
        assert_eq!(of["service.name"], "traaviis");
        all.extend(resource.scope_logs.into_iter().flat_map(|it| it.log_records));
    }
    all
}

/// The numbers of the last push, by name.
fn numbers(sent: &Sent) -> BTreeMap<String, Metric> {
    let pushes = sent_to::<ExportMetricsServiceRequest>(sent, "/v1/metrics");
    let last = pushes.into_iter().next_back().expect("numbers were pushed");
    let scopes = last.resource_metrics.into_iter().flat_map(|it| it.scope_metrics);
    scopes.flat_map(|it| it.metrics).map(|it| (it.name.clone(), it)).collect()
}

/// Name and kind of everything that Prometheus is told.
fn families(server: &Server) -> (BTreeMap<String, String>, String) {
    let told = ask(&server.admin, "GET", "/metrics", &[], "").body;
    parse(&told);
    let types = told.lines().filter_map(|it| it.strip_prefix("# TYPE ")?.split_once(' '));
    (types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect(), told)
}

#[test]
fn numbers_and_log_lines_reach_a_collector() {
    let world = World::new();
    let (endpoint, sent) = collector();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint), ("TRAAVIIS_LOG__LEVEL", "debug")];
    let server = serve(&world, &[], &variables);
    let (access, id) = server.work();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let bearer = format!("Bearer {access}");
    let headers = [
        ("Authorization", &*bearer),
        ("traceparent", &format!("00-{trace}-b7ad6b7169203331-01")),
        ("X-Request-Id", "canary@example.org"),
    ];
    let path = format!("/api/v1/tenants/current/instances/{id}");
    assert_eq!(ask(&server.address, "GET", &path, &headers, "").status, 200);
    let (families, told) = families(&server);
    // The last are sent when a server ends.
    assert_eq!(end(server.process), Some(0));

    let numbers = numbers(&sent);
    let counted = |name: &str| match &numbers[name].data {
        Some(Data::Sum(sum)) if sum.is_monotonic && sum.aggregation_temporality == 2 => {
            sum.data_points.iter().map(|it| match it.value {
                Some(number_data_point::Value::AsDouble(value)) => value,
                other => panic!("{other:?}"),
            })
        }
        .sum::<f64>(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(counted("traaviis_fsm_workflow_created_total"), 1.0);
    assert_eq!(counted("traaviis_auth_token_total"), 1.0);
    assert!(counted("traaviis_storage_user_stored_total") >= 1.0);
    for (name, kind) in &families {
        // What has no series yet is told to Prometheus by its name alone.
        let has_series = told.lines().any(|it| it.starts_with(&format!("{name}{{")))
            || told.lines().any(|it| it.starts_with(&format!("{name} ")))
            || told.lines().any(|it| it.starts_with(&format!("{name}_count")));
        let Some(metric) = numbers.get(name) else {
            assert!(!has_series, "{name} was not pushed");
            continue;
        };
        let is_same = matches!(
            (&**kind, &metric.data),
            ("counter", Some(Data::Sum(_)))
                | ("gauge", Some(Data::Gauge(_)))
                | ("histogram", Some(Data::Histogram(_)))
        );
        assert!(is_same, "{name}: {kind}, and {metric:?}");
    }

    let records = records(&sent);
    let bodies: Vec<String> = records.iter().map(|it| text(it.body.as_ref())).collect();
    for said in ["the server listens", "the server has ended"] {
        assert!(bodies.iter().any(|it| it == said), "{said}: {bodies:?}");
    }
    let answered = "GET /api/v1/tenants/{t}/instances/{id} answered 200";
    let at = bodies.iter().position(|it| it == answered).expect(answered);
    let hex: String = records[at].trace_id.iter().map(|it| format!("{it:02x}")).collect();
    let attributes = texts(&records[at].attributes);
    assert_eq!((&*hex, records[at].severity_number), (trace, 5));
    assert_eq!((&*attributes["instance_id"], &*attributes["status"]), (&*id, "200"));
    assert!(!attributes.contains_key("trace_id"), "{attributes:?}");
    assert!(records.iter().all(|it| texts(&it.attributes)["target"].starts_with("traaviis")));
    let all = format!("{records:?}{numbers:?}");
    for secret in ["ada@example.org", "correct horse", "canary@example.org", &access] {
        assert!(!all.contains(secret), "`{secret}` was sent");
    }
}

#[test]
fn what_is_switched_off_is_not_sent() {
    let world = World::new();
    let (endpoint, sent) = collector();
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("TRAAVIIS_TELEMETRY__TRACES", "false"),
        ("TRAAVIIS_TELEMETRY__METRICS", "false"),
    ];
    let server = serve(&world, &[], &variables);
    server.work();
    let (families, _) = families(&server);
    assert!(!families.contains_key("traaviis_telemetry_spans_total"), "{families:?}");
    assert!(families.contains_key("traaviis_telemetry_log_records_total"));
    assert_eq!(end(server.process), Some(0));
    let sent = sent.lock().unwrap();
    let paths: BTreeSet<&str> = sent.iter().filter_map(|it| it.0.split(' ').nth(1)).collect();
    assert_eq!(paths, BTreeSet::from(["/v1/logs"]));
}

#[test]
fn lines_that_a_collector_could_not_take_are_sent_again() {
    let world = World::new();
    let asked = AtomicU32::new(0);
    // One that is being started, and one that has no room for numbers.
    let (endpoint, sent) = collector_answering(move |path| match path {
        "/v1/logs" if asked.fetch_add(1, Ordering::SeqCst) == 0 => "503 Service Unavailable",
        "/v1/metrics" => "400 Bad Request",
        _ => "200 OK",
    });
    let server = serve(&world, &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    wait_until("the lines have come", || {
        records(&sent).iter().any(|it| text(it.body.as_ref()) == "the server listens")
    });
    let told = ask(&server.admin, "GET", "/metrics", &[], "").body;
    let line = |result: &str| {
        let key = format!("traaviis_telemetry_log_records_total{{result=\"{result}\"}}");
        parse(&told).into_iter().find(|it| it.0 == key).unwrap().1
    };
    assert_eq!((line("failed"), line("dropped")), (0.0, 0.0));
    let lines = server.lines.clone();
    assert_eq!(end(server.process), Some(0));
    assert!(sent_to::<ExportMetricsServiceRequest>(&sent, "/v1/metrics").is_empty());
    let lines = lines.lock().unwrap().join("\n");
    assert!(lines.contains("numbers did not reach the collector: it answered 400"), "{lines}");
}

/// Names of metrics that the guide lists, each with its labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let guide = include_str!("../../../../docs/guides/observing-a-server.md");
    let rows = guide.lines().filter_map(|it| it.strip_prefix("| `"));
    let rows = rows.filter_map(|it| it.split_once("` | "));
    rows.filter(|it| it.0.starts_with("traaviis_") || it.0.starts_with("process_"))
        .map(|(name, rest)| {
            let labels = rest.split(" | ").next().unwrap();
            let labels = labels.split(", ").filter(|it| *it != "-");
            (name.to_owned(), labels.map(|it| it.trim_matches('`').to_owned()).collect())
        })
        .collect()
}

#[test]
fn the_guide_names_every_number_and_no_other() {
    let world = World::new();
    let (endpoint, _sent) = collector();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint)];
    let server = serve(&world, &["--tree", "lazy"], &variables);
    let (access, id) = server.work();
    let bearer = format!("Bearer {access}");
    let events = format!("/api/v1/tenants/current/instances/{id}/events");
    let body = json!({ "event": "open" }).to_string();
    ask(&server.address, "POST", &events, &[("Authorization", &bearer)], &body);
    let refused = ask(&server.address, "GET", "/api/v1/me", &[("Authorization", "Bearer x")], "");
    assert_eq!(refused.status, 401);
    let (families, told) = families(&server);
    let documented = documented();
    let names = |it: BTreeSet<&String>| it.into_iter().cloned().collect::<BTreeSet<String>>();
    assert_eq!(names(documented.keys().collect()), names(families.keys().collect()));
    for (key, _) in parse(&told) {
        let Some((name, labels)) = key.split_once('{') else { continue };
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|it| name.strip_suffix(it).filter(|it| documented.contains_key(*it)))
            .unwrap_or(name);
        let labels = labels.trim_end_matches('}').split("\",").map(|it| it.split('=').next());
        for label in labels.flatten().filter(|it| *it != "le") {
            assert!(documented[name].contains(label), "{name} has a label `{label}`: {key}");
        }
    }
}
