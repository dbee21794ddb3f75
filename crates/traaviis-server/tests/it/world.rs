//! A server over memory, and a caller of it.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{Request, header},
};
use serde_json::{Value as Json, json};
use traaviis_model::{InstanceId, Snapshot, TenantCtx, TenantId, Timestamp, Value, record::Status};
use traaviis_platform::{
    Entropy, Error, Platform, Settings, Ways,
    ask::{Ask, ListFilter},
    audit::Via,
    engine::{
        Accepted, Checked, Engine, EventAsk, Listing, OnStep, Picture, PostAsk, Reply, Row,
        StartAsk, Started, Study,
    },
    user::PlatformRole,
};
use traaviis_server::{App, Front, admin_router, limits::Attempts, router};
use traaviis_testkit::{
    clock::SimClock, memory_documents::MemoryDocuments, memory_log::MemoryLog,
    memory_vault::MemoryVault,
};

/// A password that is taken.
pub const PASSWORD: &str = "correct horse battery";

/// An engine that knows which instance is whose, and nothing else about instances.
#[derive(Default)]
pub struct Plain {
    instances: Mutex<BTreeMap<InstanceId, TenantId>>,
}

impl Plain {
    fn own(&self, ctx: &TenantCtx, id: &str) -> Result<(), Error> {
        let instance = id.parse().unwrap();
        match self.instances.lock().unwrap().get(&instance) {
            Some(tenant) if *tenant == ctx.tenant() => Ok(()),
            _ => Err(Error::not_found("instance", id)),
        }
    }
}

/// Returns what an index would have of an instance.
fn row(ctx: &TenantCtx, id: InstanceId) -> Row {
    Row {
        tenant: ctx.tenant(),
        id,
        workflow: "Plain".into(),
        version: "1.0.0".into(),
        status: Status::Running,
        state: "open".into(),
        correlation: None,
        correlation_id: None,
        tags: Default::default(),
        parent: None,
        created_by: None,
        asks: false,
        waits: true,
        seq: 1,
        created_at: Timestamp(0),
        updated_at: Timestamp(0),
        finished_at: None,
        due: None,
        first: None,
        last: 0,
        snapshot: None,
    }
}

impl Engine for Plain {
    fn check(&self, _: &TenantCtx, text: &str) -> Checked {
        let document: Json = serde_json::from_str(text).unwrap_or_default();
        let word = |key: &str| document[key].as_str().map(Into::into);
        let is_valid = document["states"].is_object();
        let missing = json!({ "severity": "error", "code": "E102", "message": "no states" });
        Checked {
            diagnostics: if is_valid { vec![] } else { vec![missing] },
            is_valid,
            name: word("name"),
            version: word("version"),
            hash: is_valid.then(|| format!("{:064x}", text.len())),
            description: None,
            document: is_valid.then(|| Value::from(&document)),
        }
    }

    fn draw(&self, _: &TenantCtx, _: &Value, _: Picture) -> Result<String, Error> {
        Ok("stateDiagram-v2".into())
    }

    fn start(&self, ctx: &TenantCtx, start: StartAsk<'_>) -> Result<Json, Error> {
        (start.document)()?;
        let mut instances = self.instances.lock().unwrap();
        let fresh = InstanceId(uuid::Uuid::from_u128(0x7000 << 64 | instances.len() as u128));
        let id = start.id.unwrap_or(fresh);
        instances.insert(id, ctx.tenant());
        Ok(json!({ "id": id, "by": ctx.actor().text(), "input": Json::from(&start.input) }))
    }

    fn study(&self, _: &TenantCtx, _: Study<'_>) -> Result<Json, Error> {
        Err(Error::new("definition_invalid", "it knows nothing about documents"))
    }

    fn start_built_in(
        &self,
        ctx: &TenantCtx,
        _: &str,
        id: InstanceId,
        _: Value,
    ) -> Result<Json, Error> {
        self.instances.lock().unwrap().insert(id, ctx.tenant());
        Ok(json!({ "id": id }))
    }

    fn post(&self, _: &TenantCtx, _: PostAsk, reply: Reply<u16>) {
        reply(Ok(204));
    }

    // Everything is answered by a thread here.
    fn knows(&self, _: &str) -> bool {
        false
    }

    fn has_state(&self, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn start_then(&self, _: &TenantCtx, _: StartAsk<'_>, reply: Reply<Started>) {
        reply(Err(Error::new("internal", "it knows no definition")));
    }

    fn send_then(&self, _: &TenantCtx, event: EventAsk, reply: Reply<Accepted>) {
        reply(Err(Error::not_found("instance", &event.id.to_string())));
    }

    fn find_then(&self, _: &TenantCtx, _: InstanceId, reply: Reply<Option<Arc<Snapshot>>>) {
        reply(Ok(None));
    }

    fn listen(&self, _: OnStep) {}

    fn destroy(&self, ctx: &TenantCtx) -> Result<(), Error> {
        self.instances.lock().unwrap().retain(|_, it| *it != ctx.tenant());
        Ok(())
    }

    fn list(&self, ctx: &TenantCtx, _: bool, _: &ListFilter) -> Result<Listing, Error> {
        let instances = self.instances.lock().unwrap();
        let own = instances.iter().filter(|it| *it.1 == ctx.tenant());
        Ok(Listing { rows: own.rev().map(|it| row(ctx, *it.0)).collect(), ..Listing::default() })
    }

    fn ask(&self, ctx: &TenantCtx, ask: Ask) -> Result<Json, Error> {
        match ask {
            Ask::List { .. } | Ask::Classify { .. } => Ok(json!({ "instances": [] })),
            Ask::Tasks => Ok(json!({ "tasks": [] })),
            Ask::Incidents => Ok(json!({ "incidents": [] })),
            Ask::Count { .. } => Ok(json!({ "counts": [] })),
            Ask::OpenEffects { .. } => Ok(json!({ "effects": [], "next": null })),
            Ask::Show { id }
            | Ask::History { id, .. }
            | Ask::Send { id, .. }
            | Ask::Query { id, .. }
            | Ask::Cancel { id, .. }
            | Ask::Operate { id, .. }
            | Ask::Retry { id, .. }
            | Ask::Skip { id, .. }
            | Ask::ReplayTo { id, .. }
            | Ask::Effects { id }
            | Ask::RunEffect { id, .. }
            | Ask::CancelEffect { id, .. }
            | Ask::Trees { id }
            | Ask::State { id }
            | Ask::Measures { id }
            | Ask::Transitions { id }
            | Ask::Probe { id, .. }
            | Ask::NeedsState { id, .. }
            | Ask::Fork { id, .. }
            | Ask::ShowTask { id, .. }
            | Ask::Task { id, .. } => {
                self.own(ctx, &id)?;
                Ok(json!({ "instance": id, "lines": [] }))
            }
            Ask::Effect { id } | Ask::Resolve { id, .. } | Ask::Assign { id, .. } => {
                self.own(ctx, id.split(':').next().unwrap_or_default())?;
                Ok(json!({ "instance": id }))
            }
            other => Err(Error::new("internal", format!("not asked for by any route: {other:?}"))),
        }
    }
}

/// An answer, read.
#[derive(Clone, Debug)]
pub struct Told {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Json,
}

impl Told {
    pub fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub fn text(&self, pointer: &str) -> String {
        self.body.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    pub fn etag(&self) -> String {
        self.headers.get("etag").cloned().unwrap_or_default()
    }
}

/// The server.
pub struct World {
    router: Front,
    admin: Front,
    runtime: tokio::runtime::Runtime,
    pub platform: Arc<Platform>,
    pub clock: Arc<SimClock>,
}

impl World {
    pub fn new() -> World {
        World::with(|app| app)
    }

    /// One in which attempts are limited as in the profile for trying things out.
    pub fn relaxed() -> World {
        World::with(|app| app.with_limits(Attempts::DEV))
    }

    /// One whose server is set otherwise.
    pub fn with(set: impl FnOnce(App) -> App) -> World {
        World::set(Settings::default(), set)
    }

    /// One whose server and platform are set otherwise.
    pub fn set(settings: Settings, set: impl FnOnce(App) -> App) -> World {
        let clock = Arc::new(SimClock::new(Timestamp(1_800_000_000_000_000)));
        let ways = Ways {
            log: Arc::new(MemoryLog::new()),
            documents: Arc::new(MemoryDocuments::default()),
            vault: Arc::new(MemoryVault::default()),
            clock: Arc::clone(&clock) as Arc<_>,
            entropy: Entropy::seeded(1),
        };
        let platform = Arc::new(Platform::open(ways, settings).unwrap());
        let app = App::new(Arc::clone(&platform), Arc::new(Plain::default()), "0.0.0", |_| {});
        let app = Arc::new(set(app));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let admin = admin_router(Arc::clone(&app));
        World { router: router(app), admin, runtime, platform, clock }
    }

    /// Returns what answers requests.
    pub fn router(&self) -> Front {
        self.router.clone()
    }

    /// Lets somebody look after the platform; returns an access token that says so.
    pub fn promoted(&self, email: &str) -> String {
        let via = Via { way: "command_line", ..Via::default() };
        self.platform.promote(email, PlatformRole::PlatformAdmin, &via).unwrap();
        self.log_in(email)
    }

    /// Logs somebody in; returns their access token.
    pub fn log_in(&self, email: &str) -> String {
        let told = self.call(
            "",
            "POST",
            "/auth/login",
            json!({
                "email": email, "password": PASSWORD,
            }),
        );
        assert_eq!(told.status, 200, "{told:?}");
        told.text("/access_token")
    }

    /// Sends a request from an address, below the base of the API.
    pub fn from(&self, address: &str, who: &str, method: &str, path: &str, body: Json) -> Told {
        let bearer = format!("Bearer {who}");
        let mut headers = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        if !who.is_empty() {
            headers.push((header::AUTHORIZATION.as_str(), &bearer));
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let path = format!("/api/v1{path}");
        let from = SocketAddr::new(address.parse().unwrap(), 1);
        self.raw_from(Some(from), method, &path, &headers, body)
    }

    /// Sends a request with any headers and any body.
    pub fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Told {
        self.raw_from(None, method, path, headers, body)
    }

    fn raw_from(
        &self,
        from: Option<SocketAddr>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Told {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body)).unwrap();
        if let Some(from) = from {
            request.extensions_mut().insert(ConnectInfo(from));
        }
        self.runtime.block_on(async {
            let response = self.router.answer(request).await;
            let (head, body) = response.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.unwrap();
            let text = |it: &axum::http::HeaderValue| it.to_str().unwrap_or_default().to_owned();
            Told {
                status: head.status.as_u16(),
                headers: head.headers.iter().map(|it| (it.0.to_string(), text(it.1))).collect(),
                body: serde_json::from_slice(&bytes).unwrap_or_default(),
            }
        })
    }

    /// Returns what operators read.
    pub fn metrics(&self) -> String {
        let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
        self.runtime.block_on(async {
            let response = self.admin.answer(request).await;
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            String::from_utf8(bytes.to_vec()).unwrap()
        })
    }

    /// Sends a request as somebody, below the base of the API.
    pub fn call(&self, who: &str, method: &str, path: &str, body: Json) -> Told {
        self.call_if(who, method, path, body, "")
    }

    /// The same with `If-Match`.
    pub fn call_if(&self, who: &str, method: &str, path: &str, body: Json, etag: &str) -> Told {
        let bearer = format!("Bearer {who}");
        let mut headers = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        if !who.is_empty() {
            headers.push((header::AUTHORIZATION.as_str(), &bearer));
        }
        if !etag.is_empty() {
            headers.push((header::IF_MATCH.as_str(), etag));
        }
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.raw(method, &format!("/api/v1{path}"), &headers, body)
    }

    /// Registers somebody; returns their access token and the id of their tenant.
    pub fn register(&self, email: &str) -> (String, String) {
        let body = json!({ "email": email, "password": PASSWORD });
        let told = self.call("", "POST", "/auth/register", body);
        assert_eq!(told.status, 201, "{told:?}");
        (told.text("/access_token"), told.text("/tenant/id"))
    }

    /// Makes somebody a member of the tenant of another; returns their access token.
    pub fn join(&self, by: &str, tenant: &str, email: &str, role: &str) -> String {
        let invite = json!({ "email": email, "role": role });
        let told = self.call(by, "POST", &format!("/tenants/{tenant}/invitations"), invite);
        assert_eq!(told.status, 201, "{told:?}");
        let accept = json!({ "token": told.text("/token"), "password": PASSWORD });
        let told = self.call("", "POST", "/invitations/accept", accept);
        assert_eq!(told.status, 200, "{told:?}");
        told.text("/access_token")
    }
}
