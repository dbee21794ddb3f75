//! What is refused, and how: every refusal is a problem with a code that has a page.

use serde_json::json;

use crate::world::World;

#[test]
fn every_refusal_is_a_problem_and_every_answer_has_the_headers() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    let bearer = format!("Bearer {ada}");
    let json = ("content-type", "application/json");
    let auth = ("authorization", &*bearer);
    let huge = format!("{{\"email\":\"{}\"}}", "x".repeat(2 << 20)).into_bytes();
    let deep = format!("{{\"email\":{}", "[".repeat(100)).into_bytes();
    let body = |text: &str| text.as_bytes().to_vec();
    for (method, path, headers, bytes, status, code) in [
        ("GET", "/nowhere", vec![], vec![], 404, "not_found"),
        ("GET", "/api/v1/me", vec![], vec![], 401, "not_authenticated"),
        (
            "GET",
            "/api/v1/me",
            vec![("authorization", "Basic eDp5")],
            vec![],
            401,
            "not_authenticated",
        ),
        (
            "GET",
            "/api/v1/me",
            vec![("authorization", "Bearer x.y.z")],
            vec![],
            401,
            "invalid_token",
        ),
        ("GET", "/api/v1/auth/login", vec![], vec![], 405, "method_not_allowed"),
        ("PUT", "/api/v1/me", vec![auth], vec![], 405, "method_not_allowed"),
        ("POST", "/api/v1/auth/login", vec![], body("{}"), 415, "unsupported_media_type"),
        (
            "POST",
            "/api/v1/auth/login",
            vec![("content-type", "text/plain")],
            body("{}"),
            415,
            "unsupported_media_type",
        ),
        ("POST", "/api/v1/auth/login", vec![json], body("{"), 400, "bad_request"),
        ("POST", "/api/v1/auth/login", vec![json], vec![0xff, 0xfe], 400, "bad_request"),
        ("POST", "/api/v1/auth/login", vec![json], deep, 400, "bad_request"),
        ("POST", "/api/v1/auth/login", vec![json], huge, 413, "payload_too_large"),
        (
            "POST",
            "/api/v1/auth/login",
            vec![json],
            body(r#"{"email":"a","x":1}"#),
            422,
            "unknown_field",
        ),
        (
            "POST",
            "/api/v1/auth/login",
            vec![json],
            body(r#"{"email":7}"#),
            422,
            "validation_failed",
        ),
        (
            "POST",
            "/api/v1/auth/login",
            vec![json],
            body(r#"{"email":"a","password":"b"}"#),
            401,
            "invalid_credentials",
        ),
        (
            "POST",
            "/api/v1/auth/refresh",
            vec![json],
            body(r#"{"refresh_token":"trv_rt_x"}"#),
            401,
            "invalid_token",
        ),
        (
            "POST",
            "/api/v1/invitations/accept",
            vec![json],
            body(r#"{"token":"x","password":"y"}"#),
            404,
            "not_found",
        ),
        ("GET", "/api/v1/tenants/..%2F..%2Fetc", vec![auth], vec![], 403, "no_tenant_context"),
        ("GET", "/api/v1/tenants/current/instances/..%2Fx", vec![auth], vec![], 404, "not_found"),
        (
            "GET",
            "/api/v1/tenants/current/instances?limit=0",
            vec![auth],
            vec![],
            422,
            "validation_failed",
        ),
        (
            "GET",
            "/api/v1/tenants/current/instances?limit=201",
            vec![auth],
            vec![],
            422,
            "validation_failed",
        ),
        (
            "GET",
            "/api/v1/tenants/current/instances?status=dancing",
            vec![auth],
            vec![],
            422,
            "validation_failed",
        ),
        (
            "GET",
            "/api/v1/tenants/current/audit?cursor=x",
            vec![auth],
            vec![],
            422,
            "validation_failed",
        ),
        (
            "PATCH",
            "/api/v1/tenants/current",
            vec![auth, json],
            body(r#"{"name":"A"}"#),
            428,
            "precondition_required",
        ),
        (
            "PATCH",
            "/api/v1/tenants/current",
            vec![auth, json, ("if-match", "\"0\"")],
            body(r#"{"name":"A"}"#),
            412,
            "precondition_failed",
        ),
    ] {
        let told = world.raw(method, path, &headers, bytes);
        assert_eq!((told.status, told.code()), (status, code), "{method} {path}: {told:?}");
        assert_eq!(told.headers["content-type"], "application/problem+json", "{path}");
        assert_eq!(told.body["status"], json!(status));
        assert_eq!(told.body["type"], json!(format!("/errors/{code}")));
        assert!(!told.text("/request_id").is_empty());
        assert_eq!(told.text("/request_id"), told.headers["x-request-id"]);
        let page = format!("{}/../../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&page).exists(), "`{code}` has no page");
        for header in ["x-content-type-options", "content-security-policy", "referrer-policy"] {
            assert!(told.headers.contains_key(header), "{header}");
        }
    }
    let told = world.raw("PUT", "/api/v1/me", &[auth], vec![]);
    assert_eq!(told.headers["allow"], "GET, HEAD, PATCH, DELETE, OPTIONS");
}

#[test]
fn every_code_with_a_status_has_a_page() {
    let missing: Vec<&str> = traaviis_api::problem::STATUSES
        .iter()
        .flat_map(|it| it.1.iter().copied())
        .filter(|code| {
            let page = format!("{}/../../docs/errors/{code}.md", env!("CARGO_MANIFEST_DIR"));
            !std::path::Path::new(&page).exists()
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_stands_beside_the_table_answers_too() {
    let world = World::new();
    let get = |path: &str| world.raw("GET", path, &[], vec![]);
    assert_eq!(get("/health").text("/status"), "ok");
    assert_eq!(get("/ready").text("/status"), "ready");
    assert_eq!(get("/version").text("/version"), "0.0.0");
    let jwks = get("/.well-known/jwks.json");
    assert_eq!(jwks.body["keys"].as_array().unwrap().len(), 2);
    assert!(jwks.body["keys"][0].get("d").is_none(), "no private half");
    assert_eq!(get("/api/v1/openapi.json").text("/openapi"), "3.1.0");
}

#[test]
fn operators_read_numbers_that_nobody_else_can_make_more_of() {
    let world = World::new();
    let (ada, _) = world.register("ada@example.org");
    world.call(&ada, "GET", "/tenants/current/workflows/a-name-of-somebody", json!(null));
    let text = world.metrics();
    assert!(
        text.contains(
            r#"{operation="Register",method="POST",route="/api/v1/auth/register",status="201"} 1"#
        ),
        "{text}"
    );
    assert!(text.contains(r#"traaviis_http_requests_total{operation="ShowWorkflow","#), "{text}");
    assert!(text.contains(r#"status="404"} 1"#), "{text}");
    assert!(!text.contains("a-name-of-somebody") && !text.contains("ada"), "{text}");
    assert_eq!(world.raw("GET", "/metrics", &[], vec![]).status, 404, "not for everybody");
}
