//! One request: who asks, whether they may, what is done.
//!
//! [`request`] checks the right that the row of the table names, then dispatches. The `match` over
//! operations is complete by the compiler, and each handler is a few lines around one use case.

mod accounts;
mod admin;
mod alert_rules;
mod browser;
mod budgets;
mod chosen;
mod cookie;
mod effects;
mod elsewhere;
mod factors;
mod governance;
mod hooks;
mod instances;
mod issuers;
mod jobs;
mod lists;
mod looks;
mod operating;
pub(crate) mod pace;
mod repeated;
mod schedules;
pub(crate) mod soon;
mod studies;
mod tenants;
mod usage;
mod views;
mod webhooks;
mod workflows;

use serde::Serialize;
use serde_json::Value as Json;
use traaviis_api::{
    Access, Method, Op, Operation, Problem,
    problem::{FieldError, status_of, title_of},
};
use traaviis_model::TenantId;
use traaviis_platform::{
    Caller, Entered, Error, audit::Via, caller::no_tenant, engine::Engine, jobs::JobStatus,
    one_time::Purpose, platform::Platform, repeated::RequestKey,
};
use traaviis_policy::access::{Action, Freshness};

use crate::{
    App,
    idempotency::{self, Turn},
    parts::Parts,
    payloads,
    request::Request,
};

/// A good answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// JSON; empty with status 204.
    pub body: Vec<u8>,
    /// Version of what is shown, for `ETag`.
    pub version: Option<u64>,
    /// What is told in parts in the place of the body.
    pub parts: Option<Parts>,
    /// Further headers, by name.
    pub headers: Vec<(&'static str, String)>,
    /// Where what was begun is shown, for `Location`.
    pub location: Option<String>,
}

impl Answer {
    /// Answers with the status of a row.
    fn of(row: &Operation, body: &impl Serialize) -> Result<Answer, Error> {
        let body = serde_json::to_vec(body).map_err(|error| {
            Error::new("internal", format!("an answer cannot be written: {error}"))
        })?;
        let (status, headers) = (row.status, Vec::new());
        Ok(Answer { status, body, version: None, parts: None, headers, location: None })
    }
}

/// A request whose right was checked.
struct Call<'a> {
    app: &'a App,
    row: &'static Operation,
    request: &'a Request,
    via: Via,
    caller: Option<Caller>,
    entered: Option<Entered>,
}

impl Call<'_> {
    fn platform(&self) -> &Platform {
        &self.app.platform
    }

    fn engine(&self) -> &dyn Engine {
        &*self.app.engine
    }

    fn caller(&self) -> Result<&Caller, Error> {
        self.caller.as_ref().ok_or_else(anonymous)
    }

    /// Returns the tenant that the caller has entered; the table says which rows have one.
    fn entered(&self) -> Result<&Entered, Error> {
        self.entered.as_ref().ok_or_else(anonymous)
    }

    /// Counts it for the tenant that was entered.
    fn count(&self) {
        if let Some(entered) = &self.entered {
            self.platform().count_call(entered);
        }
    }

    /// Answers with the status of the row.
    fn tell(&self, body: &impl Serialize) -> Result<Answer, Error> {
        self.told(body, None)
    }

    /// Answers with something that has a version.
    fn versioned(&self, body: &impl Serialize, version: u64) -> Result<Answer, Error> {
        self.told(body, Some(version))
    }

    fn told(&self, body: &impl Serialize, version: Option<u64>) -> Result<Answer, Error> {
        if self.row.is_cut() {
            let mut list = lists::page_of(self.row, self.request, body)?;
            chosen::cut(self.row, self.request, &mut list)?;
            return Answer::of(self.row, &list);
        }
        if self.request.query.contains_key("fields") {
            let mut list = lists::written_out(body)?;
            chosen::cut(self.row, self.request, &mut list)?;
            return Answer::of(self.row, &list);
        }
        Ok(Answer { version, ..Answer::of(self.row, body)? })
    }

    /// Answers with what was written before.
    fn written(&self, body: &[u8]) -> Answer {
        let (status, body, headers) = (self.row.status, body.to_vec(), Vec::new());
        Answer { status, body, version: None, parts: None, headers, location: None }
    }

    fn done(&self) -> Result<Answer, Error> {
        Ok(self.written(b""))
    }

    /// Returns the key by which a repetition is known, if there is one.
    fn key(&self) -> Option<&RequestKey> {
        self.caller.as_ref()?.via.request_key.as_ref()
    }

    /// Answers about an instance, with what the caller may see of its data.
    fn shown(&self, body: Json) -> Result<Answer, Error> {
        let entered = self.entered()?;
        let (shown, found) = payloads::shown(body, entered.data_access);
        self.platform().note_masked(&entered.ctx, &found);
        self.tell(&shown)
    }
}

fn anonymous() -> Error {
    Error::new("not_authenticated", "log in with `POST /api/v1/auth/login`, or send an API key")
}

/// Carries a request out.
pub fn request(app: &App, row: &'static Operation, request: &Request) -> Result<Answer, Error> {
    let via = request.via();
    pace::attempt(app, row, request)?;
    operating::admit(app, row)?;
    let caller = match (row.access, request.token()) {
        (Access::Public, _) | (Access::Either, None) => None,
        (_, None) => return Err(anonymous()),
        (_, Some(token)) => Some(app.platform.authenticate(token, via.clone())?),
    };
    let caller = match caller {
        Some(mut caller) => {
            caller.via.request_key = idempotency::key_of(app, row, request, &caller)?;
            Some(caller)
        }
        None => None,
    };
    let entered = match &caller {
        Some(caller) => {
            if !request.is_paced() {
                pace::caller(app, row, request, caller)?;
            }
            enter(app, row, request, caller)?
        }
        None => None,
    };
    let call = Call { app, row, request, via, caller, entered };
    call.count();
    request.check_query(row)?;
    browser::check(row, request)?;
    let Some(key) = call.key() else { return dispatch(&call) };
    match idempotency::begin(app, row, call.entered.as_ref(), key)? {
        Turn::Again(answer) => Ok(answer),
        Turn::Done(used) => repeated::again(&call, &used),
        Turn::First => {
            let answer = dispatch(&call);
            idempotency::end(app, call.entered.as_ref(), key, answer.as_ref().ok());
            answer
        }
    }
}

/// Takes a message that has arrived at a hook, and says what its sender waits for besides.
fn knock(
    app: &App,
    row: &'static Operation,
    request: &Request,
) -> Result<(Answer, Option<hooks::Awaited>), Error> {
    pace::attempt(app, row, request)?;
    operating::admit(app, row)?;
    let call = Call { app, row, request, via: request.via(), caller: None, entered: None };
    hooks::receive(&call)
}

/// Carries a request out as somebody who was recognised before.
pub(crate) fn as_caller(
    app: &App,
    row: &'static Operation,
    request: &Request,
    caller: Caller,
) -> Result<Answer, Error> {
    operating::admit(app, row)?;
    let entered = enter(app, row, request, &caller)?;
    let via = caller.via.clone();
    let call = Call { app, row, request, via, caller: Some(caller), entered };
    call.count();
    dispatch(&call)
}

/// Checks the right of a row.
fn enter(
    app: &App,
    row: &Operation,
    request: &Request,
    caller: &Caller,
) -> Result<Option<Entered>, Error> {
    let freshness = match row.asks.wants_proof() {
        true => Freshness::Fresh,
        false => Freshness::Any,
    };
    let action = match row.access {
        Access::Public | Access::Either | Access::SelfOnly => {
            named_elsewhere(app, request, caller)?;
            app.platform.permit(caller, Action::Own, freshness)?;
            return Ok(None);
        }
        Access::Platform => {
            app.platform.permit(caller, Action::Platform, freshness)?;
            return Ok(None);
        }
        Access::Member => Action::TenantAccess,
        Access::Needs(permission) => Action::Needs(permission),
        Access::OwnerOnly => Action::OwnerOnly,
    };
    let tenant = tenant_of(app, request, caller)?;
    tracing::Span::current().record("tenant_id", tracing::field::display(tenant));
    let entered = match app.platform.enter(caller, tenant, action, freshness) {
        Err(error) if error.code == "no_tenant_context" && row.method == Method::Get => {
            app.platform.look_in(caller, tenant, action, row.name)?
        }
        entered => entered?,
    };
    not_deleted(app, row, request, tenant)?;
    Ok(Some(entered))
}

/// Returns the tenant that a request is about: the one in its path, and no other one in a header,
/// in the query or as its host. `current` is the one that these name, where they do.
fn tenant_of(app: &App, request: &Request, caller: &Caller) -> Result<TenantId, Error> {
    let in_path = request.part("t");
    let mut named = None;
    for it in request.tenants.iter().chain(&request.host_tenant) {
        let it = app.platform.resolve(caller, it)?;
        if named.replace(it).is_some_and(|before| before != it) {
            return Err(no_tenant());
        }
    }
    let Some(named) = named else { return app.platform.resolve(caller, in_path) };
    match in_path == "current" || app.platform.resolve(caller, in_path)? == named {
        true => Ok(named),
        // Whichever was meant, half of what was asked for would be done to the other.
        false => Err(no_tenant()),
    }
}

/// Refuses a header or a query that names a tenant which the caller is not in, for what is about no
/// tenant.
fn named_elsewhere(app: &App, request: &Request, caller: &Caller) -> Result<(), Error> {
    for named in &request.tenants {
        let tenant = app.platform.resolve(caller, named)?;
        app.platform.enter(caller, tenant, Action::TenantAccess, Freshness::Any)?;
    }
    Ok(())
}

/// Refuses an instance that was deleted like one that is not there.
fn not_deleted(
    app: &App,
    row: &Operation,
    request: &Request,
    tenant: TenantId,
) -> Result<(), Error> {
    let is_instance = ["/instances/{id}", "/tasks/{id}"].iter().any(|it| row.path.contains(it));
    let id = request.part("id");
    match is_instance && app.platform.is_deleted(tenant, id) {
        true => Err(Error::not_found("instance", id)),
        false => Ok(()),
    }
}

fn dispatch(call: &Call<'_>) -> Result<Answer, Error> {
    match call.row.op {
        Op::Register => accounts::register(call),
        Op::Login => accounts::login(call),
        Op::Refresh => accounts::refresh(call),
        Op::Logout => accounts::logout(call),
        Op::Switch => accounts::switch(call),
        Op::Reauthenticate => accounts::reauthenticate(call),
        Op::SocketTicket => accounts::ticket(call),
        Op::ExchangeToken => accounts::exchange(call),
        Op::VerifyEmail => factors::verify(call),
        Op::ResendVerification => factors::ask_by_mail(call, Purpose::Verification),
        Op::RequestReset => factors::ask_by_mail(call, Purpose::Reset),
        Op::ConfirmReset => factors::reset(call),
        Op::AskPasskey => factors::ask_passkey(call),
        Op::LoginByPasskey => factors::login_by_passkey(call),
        Op::Issuers => elsewhere::issuers(call),
        Op::StartElsewhere => elsewhere::start(call),
        Op::ReturnElsewhere => elsewhere::back(call),
        Op::FinishElsewhere => elsewhere::finish(call),
        Op::Factors => factors::list(call),
        Op::AddFactor => factors::add(call),
        Op::ConfirmFactor => factors::confirm(call),
        Op::RemoveFactor => factors::remove(call),
        Op::MakeRecoveryCodes => factors::make_recovery_codes(call),
        Op::Me => accounts::me(call),
        Op::ChangeMe => accounts::change_me(call),
        Op::ChangePassword => accounts::change_password(call),
        Op::Sessions => accounts::sessions(call),
        Op::EndSession => accounts::end_session(call),
        Op::EndOtherSessions => accounts::end_other_sessions(call),
        Op::MyRights => accounts::rights(call),
        Op::MyTenants => accounts::tenants(call),
        Op::AcceptInvitation => accounts::accept(call),
        Op::CreateTenant => tenants::create(call),
        Op::ShowTenant => tenants::show(call),
        Op::ChangeTenant => tenants::change(call),
        Op::DeleteTenant => tenants::delete(call),
        Op::RestoreTenant => tenants::restore(call),
        Op::TransferTenant => tenants::transfer(call),
        Op::Leave => tenants::leave(call),
        Op::ShowConfig => tenants::config(call),
        Op::ChangeConfig => tenants::change_config(call),
        Op::MyPermissions => tenants::permissions(call),
        Op::Members => tenants::members(call),
        Op::ShowMember => tenants::member(call),
        Op::ChangeMember => tenants::change_member(call),
        Op::RemoveMember => tenants::remove_member(call),
        Op::SuspendMember => tenants::suspend_member(call),
        Op::ActivateMember => tenants::activate_member(call),
        Op::Roles => tenants::roles(call),
        Op::ShowRole => tenants::role(call),
        Op::CreateRole => tenants::create_role(call),
        Op::ReplaceRole => tenants::replace_role(call),
        Op::DeleteRole => tenants::delete_role(call),
        Op::Invitations => tenants::invitations(call),
        Op::Invite => tenants::invite(call),
        Op::ResendInvitation => tenants::resend(call),
        Op::RevokeInvitation => tenants::revoke(call),
        Op::ApiKeys => tenants::api_keys(call),
        Op::CreateApiKey => tenants::create_api_key(call),
        Op::EndApiKey => tenants::end_api_key(call),
        Op::Workflows => workflows::list(call),
        Op::CreateWorkflow => workflows::create(call),
        Op::ValidateWorkflow => workflows::validate(call),
        Op::ShowWorkflow => workflows::show(call),
        Op::DeleteWorkflow => workflows::delete(call),
        Op::ShowDraft => workflows::draft(call),
        Op::ReplaceDraft => workflows::replace_draft(call),
        Op::PatchDraft => workflows::patch_draft(call),
        Op::RenameWorkflow => workflows::rename(call),
        Op::Publish => workflows::publish(call),
        Op::Versions => workflows::versions(call),
        Op::ShowVersion => workflows::version(call),
        Op::DrawVersion => workflows::draw(call),
        Op::Start => instances::start(call),
        Op::Instances => instances::list(call),
        Op::ShowInstance => instances::show(call),
        Op::DeleteInstance => instances::delete(call),
        Op::InstanceEvents => instances::history(call),
        Op::SendEvent => instances::send(call),
        Op::QueryInstance => instances::query(call),
        Op::PauseInstance => instances::pause(call),
        Op::ResumeInstance => instances::resume(call),
        Op::CancelInstance => instances::cancel(call, false),
        Op::TerminateInstance => instances::cancel(call, true),
        Op::RetryInstance => instances::retry(call),
        Op::SkipEffect => instances::skip(call),
        Op::EditData => instances::edit(call),
        Op::MoveInstance => instances::relocate(call),
        Op::StreamInstance => looks::stands(call),
        Op::ReplayInstance => looks::replay(call),
        Op::InstanceTree => looks::tree(call),
        Op::InstanceEffects => looks::effects(call),
        Op::InstanceState => looks::state(call),
        Op::InstanceMetrics => looks::measures(call),
        Op::TenantStats => looks::stats(call),
        Op::InstanceTransitions => looks::transitions(call),
        Op::ValidateEvent => looks::probe(call),
        Op::ForkInstance => looks::fork(call),
        Op::SendEvents => looks::send_many(call),
        Op::Broadcast => looks::broadcast(call),
        Op::BulkInstances => jobs::bulk(call),
        Op::Jobs => jobs::list(call),
        Op::ShowJob | Op::ShowUpgrade => jobs::show(call),
        Op::CancelJob | Op::AbortUpgrade => jobs::turn(call, JobStatus::Cancelled),
        Op::PauseJob | Op::PauseUpgrade => jobs::turn(call, JobStatus::Paused),
        Op::ResumeJob | Op::StartUpgrade => jobs::turn(call, JobStatus::Running),
        Op::PlanUpgrade => jobs::plan_upgrade(call),
        Op::Schedules => schedules::list(call),
        Op::CreateSchedule => schedules::create(call),
        Op::ShowSchedule => schedules::show(call),
        Op::ChangeSchedule => schedules::change(call),
        Op::EndSchedule => schedules::end(call),
        Op::PauseSchedule => schedules::pause(call),
        Op::ResumeSchedule => schedules::resume(call),
        Op::RunSchedule => schedules::run(call),
        Op::Webhooks => webhooks::list(call),
        Op::CreateWebhook => webhooks::create(call),
        Op::RemoveWebhook => webhooks::remove(call),
        Op::Deliveries => webhooks::deliveries(call),
        Op::Redeliver => webhooks::redeliver(call),
        Op::ReceiveHook => hooks::receive(call).map(|it| it.0),
        Op::Modules => studies::modules(call),
        Op::EffectKinds => studies::kinds(call),
        Op::Effects => effects::list(call),
        Op::ShowEffect | Op::StreamEffect => effects::show(call),
        Op::RunEffect => effects::run(call),
        Op::CancelEffect => effects::cancel(call),
        Op::NamedEffects => effects::named(call),
        Op::CreateNamedEffect => effects::create_named(call),
        Op::ShowNamedEffect => effects::show_named(call),
        Op::ReplaceNamedEffect => effects::replace_named(call),
        Op::DeleteNamedEffect => effects::delete_named(call),
        Op::DiffWorkflow => studies::diff(call),
        Op::SimulateWorkflow => studies::simulate(call),
        Op::TestWorkflow => studies::test(call),
        Op::ImportWorkflow => studies::import(call),
        Op::ExportWorkflow => studies::export(call),
        Op::WorkflowCode => studies::code(call),
        Op::Tasks => instances::tasks(call),
        Op::ClaimTask => instances::claim(call),
        Op::ReleaseTask => instances::release(call),
        Op::DecideTask => instances::decide(call),
        Op::ShowTask => instances::task(call),
        Op::DelegateTask => instances::delegate(call),
        Op::CommentTask => instances::comment(call),
        Op::Incidents => instances::incidents(call),
        Op::ResolveIncident => instances::resolve(call),
        Op::AssignIncident => instances::assign(call),
        Op::Audit => tenants::audit(call),
        Op::VerifyAudit => tenants::verify_audit(call),
        Op::AuditCheckpoints => governance::checkpoints(call),
        Op::ExportAudit => governance::export(call),
        Op::Alerts => governance::alerts(call),
        Op::AcknowledgeAlert => governance::acknowledge(call),
        Op::AlertRules => alert_rules::list(call),
        Op::ShowAlertRule => alert_rules::show(call),
        Op::CreateAlertRule => alert_rules::create(call),
        Op::ChangeAlertRule => alert_rules::change(call),
        Op::RemoveAlertRule => alert_rules::remove(call),
        Op::Secrets => governance::secrets(call),
        Op::ShowSecret => governance::show_secret(call),
        Op::SetSecret => governance::set_secret(call),
        Op::DeleteSecret => governance::delete_secret(call),
        Op::PrivacyReport => governance::report(call),
        Op::DetectPersonal => governance::detect(call),
        Op::ExportSubject => governance::export_subject(call),
        Op::EraseSubject => governance::erase_subject(call),
        Op::ExportMe => accounts::export_me(call),
        Op::DeleteMe => accounts::delete_me(call),
        Op::AcceptTransfer => tenants::accept_transfer(call),
        Op::WithdrawTransfer => tenants::withdraw_transfer(call),
        Op::ServiceAccounts => tenants::service_accounts(call),
        Op::CreateServiceAccount => tenants::create_service_account(call),
        Op::DeleteServiceAccount => tenants::delete_service_account(call),
        Op::Usage => usage::show(call),
        Op::ChangePlan => usage::change_plan(call),
        Op::Invoices => usage::invoices(call),
        Op::ShowInvoice => usage::invoice(call),
        Op::PayInvoice => usage::pay(call),
        Op::Budgets => budgets::show(call),
        Op::SetBudgets => budgets::set(call),
        Op::AdminUsers => admin::users(call),
        Op::AdminChangeUser => admin::change_user(call),
        Op::AdminTenants => admin::tenants(call),
        Op::AdminChangeTenant => admin::change_tenant(call),
        Op::BreakGlass => admin::break_glass(call),
        Op::ResetFactors => admin::reset_factors(call),
        Op::TenantIssuers => issuers::list(call),
        Op::SetIssuer => issuers::set(call),
        Op::RemoveIssuer => issuers::remove(call),
        Op::AdminFlags => operating::flags(call),
        Op::AdminSetFlag => operating::set_flag(call),
        Op::AdminNumbers => operating::numbers(call),
        Op::AdminNodes => operating::nodes(call),
        Op::AdminJobs => operating::jobs(call),
        Op::AdminAlerts => governance::platform_alerts(call),
        Op::AdminRotateKeys => admin::rotate_keys(call),
        Op::AdminMaintenance => operating::maintenance(call),
        Op::AdminMaintain => operating::maintain(call),
        Op::AdminBackups => operating::backups(call),
        Op::AdminBackup => operating::back_up(call),
        Op::AdminPaid => usage::paid(call),
        Op::AdminCredit => usage::credit(call),
    }
}

/// Returns a refusal as it goes out. What is nobody's business but an operator's stays here.
pub fn problem(error: &Error, path: &str, request_id: &str) -> Problem {
    let status = status_of(&error.code);
    let detail = match status {
        500 => {
            "a defect of this server, or its disk; an operator finds the request by its id".into()
        }
        _ => error.message.clone(),
    };
    let fields = error.details["errors"].clone();
    let errors: Vec<FieldError> = serde_json::from_value(fields).unwrap_or_default();
    let details =
        if errors.is_empty() && status != 500 { error.details.clone() } else { Json::Null };
    Problem {
        kind: format!("/errors/{}", error.code),
        title: title_of(status).into(),
        status,
        detail,
        instance: path.into(),
        code: error.code.to_string(),
        request_id: request_id.into(),
        errors,
        details,
    }
}
