//! The examples in the description of the interface: a served directory takes every one of them.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::{
    cli::{World, wait_until},
    server::{PASSWORD, Server},
};

/// Who looks after the platform.
const ADMIN: &str = "root@example.org";

/// Asks somebody.
const ASKS: &str = r#"traaviis: "1"
name: Asks
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - {id: ask, effect: {type: human_task, title: "Who?", separation: false, outcomes: [approve]}, onDone: done}
  done: {type: final}
"#;

/// Waits for somebody to decide.
const ENDLESS: &str = include_str!("../../../../tests/schemathesis/endless.yaml");

/// Is begun by a message.
const BELL: &str = r#"traaviis: "1"
name: Bell
version: 1.0.0
triggers: [{type: webhook, name: bell, verify: none}]
initial: rung
states:
  rung: {type: final}
"#;

/// What an example is answered that names something which only a letter, a browser, an issuer,
/// a second factor or a month that is over can bring, or tries what fails again; its form is taken
/// all the same.
const REFUSED: &[(&str, u16, &str)] = &[
    ("VerifyEmail", 401, "invalid_token"),
    ("ConfirmReset", 401, "invalid_token"),
    ("LoginByPasskey", 403, "feature_unavailable"),
    ("FinishElsewhere", 401, "invalid_token"),
    ("ConfirmFactor", 401, "invalid_credentials"),
    ("SetIssuer", 403, "login_elsewhere_failed"),
    ("Redeliver", 404, "not_found"),
    ("SkipEffect", 409, "invalid_state"),
    ("ResolveIncident", 409, "macrostep_overrun"),
    ("RetryInstance", 409, "macrostep_overrun"),
    ("ResetFactors", 409, "invalid_state"),
    ("ExportSubject", 404, "subject_unknown"),
    ("EraseSubject", 404, "subject_unknown"),
    ("PayInvoice", 409, "invalid_state"),
    ("AdminPaid", 409, "invalid_state"),
    ("AdminCredit", 409, "invalid_state"),
];

/// An operation as the description has it.
struct Row {
    name: String,
    method: String,
    path: String,
    access: String,
    asks_match: bool,
    media_type: String,
    example: Json,
}

/// Returns the operations that take a body.
fn described(server: &Server) -> Vec<Row> {
    let mut rows = Vec::new();
    let document = server.get("", "/openapi.json").body;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, it) in item.as_object().unwrap() {
            let Some(content) = it["requestBody"]["content"].as_object() else { continue };
            let (media_type, content) = content.iter().next().unwrap();
            let parameters = it["parameters"].as_array().unwrap();
            rows.push(Row {
                name: it["operationId"].as_str().unwrap().into(),
                method: method.to_uppercase(),
                path: path.strip_prefix("/api/v1").unwrap().into(),
                access: it["x-access"].as_str().unwrap().into(),
                asks_match: parameters.iter().any(|it| it["name"] == "If-Match"),
                media_type: media_type.clone(),
                example: content["example"].clone(),
            });
        }
    }
    rows
}

/// A tenant in which there is what the examples name.
struct Place {
    rows: Vec<Row>,
    examples: BTreeMap<String, Json>,
    server: Server,
    owner: String,
    admin: String,
    /// A member; empty until one is needed.
    bob: String,
    count: u32,
}

/// A request that is about to be sent.
struct Ready {
    who: String,
    method: String,
    path: String,
    body: Json,
}

impl Place {
    fn new(world: &World) -> Place {
        let variables = [("TRAAVIIS_ADMIN_PASSWORD", PASSWORD)];
        let server = Server::with(world, &["--admin-email", ADMIN], &variables);
        let owner = server.register("owner@example.org");
        let login = json!({ "email": ADMIN, "password": PASSWORD });
        let admin = server.call("", "POST", "/auth/login", login).text("/access_token");
        let rows = described(&server);
        let examples = rows.iter().map(|it| (it.name.clone(), it.example.clone())).collect();
        let bob = String::new();
        let place = Place { rows, examples, server, owner, admin, bob, count: 0 };
        let open = json!({ "open_hooks": true });
        assert_eq!(place.with_etag("PATCH", "/tenants/current/config", open).0, 200);
        for (name, text) in [("Asks", ASKS), ("Endless", ENDLESS), ("Bell", BELL)] {
            place.server.publish(&place.owner, name, text);
        }
        place
    }

    /// Changes what is there as it was read.
    fn with_etag(&self, method: &str, path: &str, body: Json) -> (u16, String) {
        let etag = self.server.get(&self.owner, path).header("etag");
        let more = format!("if-match: {etag}\r\n");
        let told = self.server.call_with(&self.owner, method, path, &more, body);
        (told.status, format!("{told:?}"))
    }

    /// Registers somebody else; returns their address and token.
    fn somebody(&mut self) -> (String, String) {
        self.count += 1;
        let email = format!("somebody.{}@example.org", self.count);
        let token = self.server.register(&email);
        (email, token)
    }

    fn example(&self, name: &str) -> Json {
        self.examples[name].clone()
    }

    /// Makes something in the tenant; returns its id.
    fn made(&self, path: &str, body: Json) -> String {
        let told = self.server.post(&self.owner, path, body);
        assert!([200, 201, 202].contains(&told.status), "{path}: {told:?}");
        told.text("/id")
    }

    /// Makes what a path names, and returns its name.
    fn name(&mut self, path: &str, part: &str) -> String {
        let before = path.split(&format!("/{{{part}}}")).next().unwrap().rsplit('/').next();
        match (before.unwrap(), part) {
            (_, "t") => "current".into(),
            ("workflows", _) => "Door".into(),
            ("secrets", _) => "key".into(),
            ("issuers", _) => "acme".into(),
            ("named", _) => "pause".into(),
            ("flags", _) => self.server.get(&self.admin, "/admin/flags").text("/items/0/name"),
            ("instances", _) => self.made("/instances", json!({ "workflow": "Door" })),
            ("tasks", _) => self.made("/instances", json!({ "workflow": "Asks" })),
            ("incidents", _) => {
                let id = self.made("/instances", json!({ "workflow": "Endless" }));
                wait_until("the incident is open", || {
                    let told = self.server.get(&self.owner, "/tenants/current/incidents");
                    told.body.to_string().contains(&id)
                });
                id
            }
            ("members", _) => {
                if self.bob.is_empty() {
                    let token = self.server.join(&self.owner, "bob@example.org", "viewer");
                    self.bob = self.server.get(&token, "/me").text("/id");
                }
                self.bob.clone()
            }
            ("roles", _) => {
                let roles = self.server.get(&self.owner, "/tenants/current/roles").body;
                let items = roles["items"].as_array().unwrap();
                let own = items.iter().find(|it| it["custom"] == true);
                own.map(|it| it["id"].as_str().unwrap().to_owned())
                    .unwrap_or_else(|| self.made("/roles", self.example("CreateRole")))
            }
            ("rules", _) => self.made("/alerts/rules", self.example("CreateAlertRule")),
            ("schedules", _) => self.made("/schedules", self.example("CreateSchedule")),
            ("webhooks", _) => self.made("/webhooks", self.example("CreateWebhook")),
            ("mfa", _) => {
                let told =
                    self.server.call(&self.owner, "POST", "/me/mfa", self.example("AddFactor"));
                told.text("/id")
            }
            ("users", _) => {
                let (_, token) = self.somebody();
                self.server.get(&token, "/me").text("/id")
            }
            ("tenants", _) => {
                let (_, token) = self.somebody();
                self.server.get(&token, "/tenants/current").text("/id")
            }
            ("invoices", _) => {
                self.server.get(&self.owner, "/tenants/current/usage").text("/month")
            }
            (before, part) => panic!("{path}: nothing is made for {before}/{part}"),
        }
    }

    /// Puts into an example what only this server can know, and says who asks.
    fn ready(&mut self, row: &Row) -> Ready {
        let mut body = row.example.clone();
        let mut path = row.path.clone();
        let who = match &*row.access {
            "-" | "- or self" => String::new(),
            "platform_admin" => self.admin.clone(),
            _ => self.owner.clone(),
        };
        let mut ready = Ready { who, method: row.method.clone(), path: "".into(), body: json!(0) };
        match &*row.name {
            "Login" => drop(self.server.register("ada@example.org")),
            "Register" => body["email"] = json!("ada.too@example.org"),
            "Refresh" => {
                let ada = json!({ "email": "owner@example.org", "password": PASSWORD });
                let told = self.server.call("", "POST", "/auth/login", ada);
                body["refresh_token"] = json!(told.text("/refresh_token"));
            }
            "Switch" => {
                let (_, token) = self.somebody();
                body["tenant"] = json!(self.server.get(&token, "/tenants/current").text("/slug"));
                ready.who = token;
            }
            "ExchangeToken" => body["subject_token"] = json!(self.owner),
            "ChangePassword" => ready.who = self.somebody().1,
            "AcceptInvitation" => {
                let ask = json!({ "email": "guest@example.org", "role": "viewer" });
                body["token"] =
                    json!(self.server.post(&self.owner, "/invitations", ask).text("/token"));
            }
            "DeleteTenant" => {
                let (_, token) = self.somebody();
                body["confirm"] = json!(self.server.get(&token, "/tenants/current").text("/slug"));
                ready.who = token;
            }
            "TransferTenant" => {
                body["user_id"] = json!(self.name("/members/{id}", "id"));
            }
            "Invite" => body["email"] = json!("carol@example.org"),
            "DelegateTask" => drop(self.name("/members/{id}", "id")),
            "SendEvents" => {
                body["events"][0]["instance"] = json!(self.name("/instances/{id}", "id"))
            }
            "BreakGlass" => {
                let (_, token) = self.somebody();
                body["tenant"] = json!(self.server.get(&token, "/tenants/current").text("/slug"));
            }
            "ReceiveHook" => {
                let tenant = self.server.get(&self.owner, "/tenants/current").text("/slug");
                path = format!("/hooks/{tenant}/bell");
            }
            _ => {}
        }
        for part in row.path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}')) {
            if path.contains(&format!("{{{part}}}")) {
                let name = match &*row.name {
                    "RetryInstance" if part == "id" => self.name("/incidents/{id}", "id"),
                    _ => self.name(&path, part),
                };
                path = path.replace(&format!("{{{part}}}"), &name);
            }
        }
        match &*row.name {
            "ResumeInstance" | "MoveInstance" => {
                let id = path.split('/').nth(4).unwrap();
                let told =
                    self.server.post(&self.owner, &format!("/instances/{id}/pause"), Json::Null);
                assert_eq!(told.status, 200, "{told:?}");
            }
            "ResumeSchedule" => {
                let id = path.split('/').nth(4).unwrap();
                let told =
                    self.server.post(&self.owner, &format!("/schedules/{id}/pause"), Json::Null);
                assert_eq!(told.status, 200, "{told:?}");
            }
            _ => {}
        }
        (ready.path, ready.body) = (path, body);
        ready
    }
}

/// What the others name.
const FIRST: &[&str] = &["CreateWorkflow", "Publish", "CreateNamedEffect", "CreateRole"];
/// What is renamed or gone would be missed by the others.
const LAST: &[&str] = &["RenameWorkflow", "AdminMaintain"];

#[test]
fn every_example_of_the_description_is_taken() {
    let world = World::new();
    let mut place = Place::new(&world);
    let mut rows = std::mem::take(&mut place.rows);
    assert!(rows.len() > 70, "{}", rows.len());
    let turn = |it: &Row| match FIRST.iter().position(|of| *of == it.name) {
        Some(at) => at,
        None => FIRST.len() + LAST.iter().position(|of| *of == it.name).map_or(0, |at| at + 1),
    };
    rows.sort_by_key(turn);
    let mut wrong = Vec::new();
    let mut refused: BTreeMap<&str, (u16, &str)> =
        REFUSED.iter().map(|(op, status, code)| (*op, (*status, *code))).collect();
    for row in rows {
        let Ready { who, method, path, body } = place.ready(&row);
        let mut more = format!("content-type: {}\r\n", row.media_type);
        if row.asks_match {
            let etag = place.server.get(&place.owner, &path).header("etag");
            more += &format!("if-match: {etag}\r\n");
        }
        let told = place.server.call_with(&who, &method, &path, &more, body);
        let is_expected = match refused.remove(&*row.name) {
            Some((status, code)) => told.status == status && told.code() == code,
            None => (200..300).contains(&told.status),
        };
        if !is_expected {
            wrong.push(format!("{} {}", row.name, told.body));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused.is_empty(), "{refused:?}");
}
