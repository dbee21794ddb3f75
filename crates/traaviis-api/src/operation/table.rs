//! The rows of the table.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use traaviis_model::{form, permission::Permission, snapshot::NodeStatus};

use super::{
    Access::{Either, Member, Needs, OwnerOnly, Platform, Public, SelfOnly},
    Asks, Form, Method, Operation, Param, SchemaOf,
};
use crate::types::{
    Anything, Page, admin::*, effects::*, factors::*, governance::*, hooks::*, identity::*,
    instances::*, issuers::*, jobs::*, tenants::*, usage::*, views::*, workflows::*,
};

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

macro_rules! body {
    (none) => {
        (None::<SchemaOf>, false)
    };
    ([$type:ty]) => {
        (Some(schema_of::<$type> as SchemaOf), true)
    };
    (($type:ty)) => {
        (Some(schema_of::<$type> as SchemaOf), false)
    };
    ($type:ty) => {
        (Some(schema_of::<$type> as SchemaOf), false)
    };
}

macro_rules! answer {
    (none) => {
        None::<SchemaOf>
    };
    (($type:ty)) => {
        Some(schema_of::<$type> as SchemaOf)
    };
    ($type:ty) => {
        Some(schema_of::<$type> as SchemaOf)
    };
}

macro_rules! operations {
    ($(
        $op:ident = $method:ident $path:literal, $access:expr, $asks:ident, $query:expr,
            $body:tt => $status:literal $answer:tt, $summary:literal;
    )*) => {
        /// Every operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Op {
            $(#[doc = $summary] $op,)*
        }

        impl Op {
            /// Returns its row.
            pub fn row(self) -> &'static Operation {
                // One macro makes variants and rows, in the same order.
                &OPERATIONS[self as usize]
            }
        }

        /// The table.
        pub const OPERATIONS: &[Operation] = &[$(
            Operation {
                op: Op::$op,
                name: stringify!($op),
                method: Method::$method,
                path: $path,
                access: $access,
                asks: Asks::$asks,
                query: $query,
                summary: $summary,
                body: body!($body).0,
                is_body_optional: body!($body).1,
                status: $status,
                answer: answer!($answer),
            },
        )*];
    };
}

const NONE: &[Param] = &[];

const fn param(name: &'static str, form: Form, what: &'static str) -> Param {
    Param { name, what, form }
}

const LIMIT: Param = param("limit", Form::Whole(1, 200), "how many at most; 50 when it is absent");
const FIELDS: Param = param(
    "fields",
    Form::Like(form::FIELDS),
    "names of fields, with commas between: items have no others, whatever their schema says",
);
const SORT: Param = param(
    "sort",
    Form::Like(form::SORT),
    "name of the field that items stand in the order of; backwards after a `-`",
);
const FIRST: &[Param] = &[LIMIT, FIELDS];
const PAGE: &[Param] = &[
    LIMIT,
    param("cursor", Form::Whole(0, i64::MAX as u64), "`next_cursor` of the page before"),
    FIELDS,
];
/// Pages of a list that is put together whole; see [`Operation::is_cut`].
pub(super) const LIST: &[Param] = &[
    LIMIT,
    param("cursor", Form::Text, "`next_cursor` of the page before, of this list"),
    SORT,
    FIELDS,
];
const INSTANCES: &[Param] = &[
    LIMIT,
    FIELDS,
    param("cursor", Form::Id, "`next_cursor` of the page before"),
    param("workflow", Form::Text, "name of the workflow"),
    param("version", Form::Text, "version of the workflow"),
    param(
        "status",
        Form::OneOf(&[
            "running",
            "paused",
            "incident",
            "completing",
            "completed",
            "failed",
            "compensated",
            "cancelled",
        ]),
        "how they stand; only open ones when it is absent",
    ),
    param("state", Form::Text, "active states as one text"),
    param("tag", Form::Text, "a word that they are found by"),
    param("correlation", Form::Text, "business key"),
    param("all", Form::OneOf(&["true", "false"]), "shows ended ones, too"),
];
const UNMASK: Param = param(
    "unmask",
    Form::OneOf(&["true", "false"]),
    "shows personal data that one sees masked otherwise; asks for `pii_unmask` and a fresh proof",
);
const SHOW: &[Param] = &[UNMASK];
const EVENTS: &[Param] = &[
    param("after_seq", Form::Whole(0, i64::MAX as u64), "only records behind this one"),
    param("cursor", Form::Whole(0, i64::MAX as u64), "`next_cursor` of the page before"),
    LIMIT,
    FIELDS,
    UNMASK,
];
const TRAIL: &[Param] = &[param(
    "format",
    Form::OneOf(&["jsonl", "csv", "cloudevents"]),
    "form of the lines; `jsonl` when it is absent",
)];
const ALERTS: &[Param] =
    &[LIMIT, param("cursor", Form::Text, "`next_cursor` of the page before"), FIELDS];
const WAIT: &[Param] = &[
    param("wait", Form::Like(form::WAIT), "answer only after `step`, `final`, or `state:PATH`"),
    param("timeout", Form::Whole(1, 60), "seconds to wait; 10 when it is absent"),
];
const EFFECTS: &[Param] = &[
    LIMIT,
    FIELDS,
    param("cursor", Form::Text, "`next_cursor` of the page before"),
    param("instance", Form::Id, "only effects of this instance"),
    param("kind", Form::Text, "kind, such as `call_api`"),
    param("status", Form::OneOf(NodeStatus::OPEN_WORDS), "how they stand"),
];
const FORMAT: &[Param] = &[param(
    "format",
    Form::OneOf(&["mermaid", "dot", "svg"]),
    "form of the picture; `mermaid` when it is absent",
)];
const MONTH: &[Param] = &[
    param("month", Form::Like(form::MONTH), "such as `2026-11`; the present one when it is absent"),
    param("by", Form::OneOf(form::USAGE_PARTS), "in which parts it is told, too"),
];
const IDS: &[Param] =
    &[LIMIT, param("cursor", Form::Id, "`next_cursor` of the page before"), FIELDS];
const USERS: &[Param] = &[
    LIMIT,
    FIELDS,
    param("cursor", Form::Id, "`next_cursor` of the page before"),
    param("email", Form::Text, "address of the one who is looked for"),
];
const AFTER: &[Param] =
    &[param("after_seq", Form::Whole(0, i64::MAX as u64), "only records behind this one")];
const UNTIL: &[Param] = &[param(
    "until",
    Form::Whole(1, i64::MAX as u64),
    "record after which it is shown; the last one when it is absent",
)];
const FROM_TO: &[Param] = &[
    param("from", Form::Text, "version before; the newest one when it is absent"),
    param("to", Form::Text, "version after; the draft when it is absent"),
];
const EXPORT: &[Param] = &[
    param("format", Form::OneOf(&["source", "yaml", "json"]), "`source`: as it was written"),
    param("version", Form::Text, "published version; the draft when it is absent"),
];
const CODE: &[Param] = &[
    param(
        "lang",
        Form::OneOf(&["rust", "typescript", "python", "yaml"]),
        "language; `typescript` when it is absent",
    ),
    param("version", Form::Text, "published version; the newest one when it is absent"),
];
const AT: &[Param] =
    &[param("path", Form::Text, "node, when the instance has several tasks or incidents")];

const RETURN_TO: &[Param] =
    &[param("return_to", Form::Text, "path of this server to which the browser comes back")];
const CALLBACK: &[Param] = &[
    param("state", Form::Text, "what the login was begun with"),
    param("code", Form::Text, "what the issuer gives for a token"),
    param("iss", Form::Text, "issuer (RFC 9207)"),
    param("error", Form::Text, "why the issuer refuses"),
    param("error_description", Form::Text, "the same for people"),
    param("session_state", Form::Text, "not used"),
];

use Permission::{
    AnalyticsView, AuditLogsView, EffectsCreate, EffectsDelete, EffectsEdit, EffectsExecute,
    SystemMetricsView, TenantBilling, TenantSettings, TenantUserManagement, WorkflowCreate,
    WorkflowDelete, WorkflowDeploy, WorkflowEdit, WorkflowExecute, WorkflowMonitor,
};

operations! {
    Register = Post "/auth/register", Public, Nothing, NONE, RegisterRequest => 201 LoginAnswer,
        "Registers a user with a tenant of their own, and logs them in.";
    Login = Post "/auth/login", Public, Nothing, NONE, LoginRequest => 200 LoginAnswer,
        "Logs a user in.";
    Refresh = Post "/auth/refresh", Public, Nothing, NONE, [RefreshRequest] => 200 LoginAnswer,
        "Renews the tokens of a session; a refresh token that was used before ends it.";
    Logout = Post "/auth/logout", SelfOnly, Nothing, NONE, none => 204 none,
        "Ends the session of the request.";
    Switch = Post "/auth/switch", SelfOnly, Nothing, NONE, SwitchRequest => 200 LoginAnswer,
        "Scopes the session to another tenant.";
    Reauthenticate = Post "/auth/reauthenticate", SelfOnly, Nothing, NONE,
        ReauthenticateRequest => 200 LoginAnswer,
        "Proves again who one is, for acts that ask for it.";

    SocketTicket = Post "/auth/socket-ticket", SelfOnly, Nothing, NONE, none => 201 TicketAnswer,
        "Makes a ticket that opens one socket within 30 seconds.";
    ExchangeToken = Post "/auth/token-exchange", SelfOnly, Nothing, NONE,
        ExchangeRequest => 200 ExchangeAnswer,
        "Exchanges an access token of one's own for one that may do less (RFC 8693).";

    VerifyEmail = Post "/auth/verify", Public, Nothing, NONE, VerifyRequest => 204 none,
        "Confirms an e-mail address with the token from the message.";
    ResendVerification = Post "/auth/verify/resend", Public, Nothing, NONE,
        MailRequest => 202 MailAnswer,
        "Sends the message again; the answer is the same whether or not there is an account.";
    RequestReset = Post "/auth/reset/request", Public, Nothing, NONE,
        MailRequest => 202 MailAnswer,
        "Sends a token for a new password; the answer is the same whether or not there is an \
         account.";
    ConfirmReset = Post "/auth/reset/confirm", Public, Nothing, NONE, ResetRequest => 204 none,
        "Sets a new password with the token from the message, and ends all sessions.";
    AskPasskey = Post "/auth/webauthn/start", Public, Nothing, NONE, none => 200 PasskeyAsked,
        "Begins a login with a passkey.";
    LoginByPasskey = Post "/auth/webauthn/finish", Public, Nothing, NONE,
        PasskeyRequest => 200 LoginAnswer,
        "Logs in who has a passkey.";
    Issuers = Get "/auth/oidc", Public, Nothing, NONE, none => 200 (Page<IssuerAnswer>),
        "Lists issuers that people may log in at.";
    StartElsewhere = Get "/auth/oidc/{issuer}/start", Public, Nothing, RETURN_TO,
        none => 303 RedirectAnswer,
        "Sends a browser to an issuer.";
    ReturnElsewhere = Get "/auth/oidc/{issuer}/callback", Public, Nothing, CALLBACK,
        none => 200 ElsewhereAnswer,
        "Takes a browser that comes back from an issuer; with `return_to` it is sent on, the \
         ticket behind `#ticket=`.";
    FinishElsewhere = Post "/auth/oidc/finish", Public, Nothing, NONE,
        ElsewhereRequest => 200 LoginAnswer,
        "Ends a login that was begun at an issuer, in the same browser.";

    Factors = Get "/me/mfa", SelfOnly, Nothing, NONE, none => 200 FactorsAnswer,
        "Lists one's own second factors.";
    AddFactor = Post "/me/mfa", SelfOnly, Fresh, NONE, FactorRequest => 201 FactorBegun,
        "Begins to add a second factor.";
    ConfirmFactor = Post "/me/mfa/{id}/confirm", SelfOnly, Fresh, NONE,
        ConfirmFactorRequest => 200 FactorAnswer,
        "Adds the second factor that was begun, and ends all other sessions.";
    RemoveFactor = Delete "/me/mfa/{id}", SelfOnly, Fresh, NONE, none => 204 none,
        "Takes a second factor away, and ends all other sessions.";
    MakeRecoveryCodes = Post "/me/mfa/recovery-codes", SelfOnly, Fresh, NONE,
        none => 201 RecoveryCodes,
        "Makes ten recovery codes in the place of those before.";

    Me = Get "/me", SelfOnly, Nothing, NONE, none => 200 UserAnswer, "Shows one's own account.";
    ChangeMe = Patch "/me", SelfOnly, Nothing, NONE, ProfileRequest => 200 UserAnswer,
        "Changes one's own profile.";
    ChangePassword = Post "/me/password", SelfOnly, Nothing, NONE, PasswordRequest => 204 none,
        "Sets a new password and ends all other sessions.";
    Sessions = Get "/me/sessions", SelfOnly, Nothing, LIST, none => 200 (Page<SessionAnswer>),
        "Lists one's own sessions.";
    EndSession = Delete "/me/sessions/{id}", SelfOnly, Nothing, NONE, none => 204 none,
        "Ends one of one's own sessions.";
    EndOtherSessions = Delete "/me/sessions", SelfOnly, Nothing, NONE, none => 204 none,
        "Ends all of one's own sessions but that of the request.";
    MyRights = Get "/me/permissions", SelfOnly, Nothing, NONE, none => 200 RightsAnswer,
        "Shows what one may do on the platform, and in the tenant of the token.";
    MyTenants = Get "/me/tenants", SelfOnly, Nothing, LIST, none => 200 (Page<TenantBrief>),
        "Lists the tenants that one is in.";
    AcceptInvitation = Post "/invitations/accept", Either, Nothing, NONE,
        AcceptRequest => 200 LoginAnswer,
        "Accepts an invitation, as who has logged in or as a new user.";

    CreateTenant = Post "/tenants", SelfOnly, Nothing, NONE,
        CreateTenantRequest => 201 TenantAnswer,
        "Makes a tenant.";
    ShowTenant = Get "/tenants/{t}", Member, Nothing, NONE, none => 200 TenantAnswer,
        "Shows a tenant.";
    ChangeTenant = Patch "/tenants/{t}", Needs(TenantSettings), Match, NONE,
        ChangeTenantRequest => 200 TenantAnswer,
        "Changes what a tenant is called.";
    DeleteTenant = Delete "/tenants/{t}", OwnerOnly, Fresh, NONE,
        DeleteTenantRequest => 200 TenantAnswer,
        "Marks a tenant for deletion; for 30 days it can be brought back.";
    RestoreTenant = Post "/tenants/{t}/restore", OwnerOnly, Fresh, NONE, none => 200 TenantAnswer,
        "Brings a tenant back that was marked for deletion.";
    TransferTenant = Post "/tenants/{t}/transfer", OwnerOnly, Fresh, NONE,
        TransferRequest => 200 TransferAnswer,
        "Offers another member to become an owner; they have seven days to accept.";
    Leave = Post "/tenants/{t}/leave", Member, Nothing, NONE, none => 204 none,
        "Takes oneself out of a tenant.";
    ShowConfig = Get "/tenants/{t}/config", Member, Nothing, NONE, none => 200 SettingsBody,
        "Shows the settings of a tenant.";
    ChangeConfig = Patch "/tenants/{t}/config", Needs(TenantSettings), Match, NONE,
        SettingsBody => 200 SettingsBody,
        "Merges settings into those of a tenant (RFC 7396).";
    MyPermissions = Get "/tenants/{t}/permissions", Member, Nothing, NONE,
        none => 200 PermissionsAnswer,
        "Shows what one may do in a tenant.";

    Members = Get "/tenants/{t}/members", Member, Nothing, LIST, none => 200 (Page<MemberAnswer>),
        "Lists the members of a tenant.";
    ShowMember = Get "/tenants/{t}/members/{id}", Member, Nothing, NONE, none => 200 MemberAnswer,
        "Shows a member.";
    ChangeMember = Patch "/tenants/{t}/members/{id}", Needs(TenantUserManagement), FreshMatch, NONE,
        ChangeMemberRequest => 200 MemberAnswer,
        "Changes what a member may do.";
    RemoveMember = Delete "/tenants/{t}/members/{id}", Needs(TenantUserManagement), Fresh, NONE,
        none => 204 none,
        "Takes a member out of a tenant.";
    SuspendMember = Post "/tenants/{t}/members/{id}/suspend", Needs(TenantUserManagement), Nothing,
        NONE, none => 200 MemberAnswer,
        "Keeps a member out until they are activated again.";
    ActivateMember = Post "/tenants/{t}/members/{id}/activate", Needs(TenantUserManagement),
        Fresh, NONE, none => 200 MemberAnswer,
        "Lets a suspended member in again.";

    Roles = Get "/tenants/{t}/roles", Member, Nothing, LIST, none => 200 (Page<RoleAnswer>),
        "Lists the roles of a tenant.";
    CreateRole = Post "/tenants/{t}/roles", Needs(TenantUserManagement), Nothing, NONE,
        RoleRequest => 201 RoleAnswer,
        "Makes a role.";
    ShowRole = Get "/tenants/{t}/roles/{id}", Member, Nothing, NONE, none => 200 RoleAnswer,
        "Shows a role that the tenant has made.";
    ReplaceRole = Put "/tenants/{t}/roles/{id}", Needs(TenantUserManagement), FreshMatch, NONE,
        RoleRequest => 200 RoleAnswer,
        "Replaces a role.";
    DeleteRole = Delete "/tenants/{t}/roles/{id}", Needs(TenantUserManagement), Match, NONE,
        none => 204 none,
        "Deletes a role that nobody has.";

    Invitations = Get "/tenants/{t}/invitations", Needs(TenantUserManagement), Nothing, LIST,
        none => 200 (Page<InvitationAnswer>),
        "Lists open invitations.";
    Invite = Post "/tenants/{t}/invitations", Needs(TenantUserManagement), Fresh, NONE,
        InviteRequest => 201 InvitationAnswer,
        "Invites somebody; the token comes to them by mail, and is in the answer where none is \
         sent.";
    ResendInvitation = Post "/tenants/{t}/invitations/{id}/resend", Needs(TenantUserManagement),
        Fresh, NONE, none => 200 InvitationAnswer,
        "Makes a new token for an invitation.";
    RevokeInvitation = Delete "/tenants/{t}/invitations/{id}", Needs(TenantUserManagement),
        Nothing, NONE, none => 204 none,
        "Takes an invitation back.";

    ApiKeys = Get "/tenants/{t}/api-keys", Member, Nothing, LIST, none => 200 (Page<ApiKeyAnswer>),
        "Lists one's own API keys; all of them for who manages users.";
    CreateApiKey = Post "/tenants/{t}/api-keys", Member, Fresh, NONE,
        ApiKeyRequest => 201 ApiKeyAnswer,
        "Makes an API key; the key is in the answer, and never again.";
    EndApiKey = Delete "/tenants/{t}/api-keys/{id}", Member, Nothing, NONE, none => 204 none,
        "Ends an API key.";

    Workflows = Get "/tenants/{t}/workflows", Needs(WorkflowMonitor), Nothing, LIST,
        none => 200 (Page<WorkflowAnswer>),
        "Lists workflows.";
    CreateWorkflow = Post "/tenants/{t}/workflows", Needs(WorkflowCreate), Nothing, NONE,
        DocumentRequest => 201 WorkflowAnswer,
        "Makes a workflow with a first draft.";
    ValidateWorkflow = Post "/tenants/{t}/workflows/validate", Needs(WorkflowEdit), Nothing, NONE,
        DocumentRequest => 200 CheckAnswer,
        "Says what is wrong with a document.";
    ShowWorkflow = Get "/tenants/{t}/workflows/{name}", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 WorkflowAnswer,
        "Shows a workflow.";
    DeleteWorkflow = Delete "/tenants/{t}/workflows/{name}", Needs(WorkflowDelete), Match, NONE,
        none => 204 none,
        "Deletes a workflow of which no instance is open.";
    ShowDraft = Get "/tenants/{t}/workflows/{name}/draft", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 DraftAnswer,
        "Shows the draft of a workflow.";
    ReplaceDraft = Put "/tenants/{t}/workflows/{name}/draft", Needs(WorkflowEdit), Match, NONE,
        DocumentRequest => 200 DraftAnswer,
        "Replaces the draft of a workflow; it may be unfinished.";
    PatchDraft = Patch "/tenants/{t}/workflows/{name}/draft", Needs(WorkflowEdit), Match, NONE,
        DraftPatch => 200 DraftAnswer,
        "Merges a patch into the draft of a workflow (RFC 7396); comments in it do not stay.";
    RenameWorkflow = Post "/tenants/{t}/workflows/{name}/rename", Needs(WorkflowEdit), Nothing,
        NONE, RenameRequest => 200 WorkflowAnswer,
        "Gives a workflow another name; those that it had go on to mean it.";
    Publish = Post "/tenants/{t}/workflows/{name}/publish", Needs(WorkflowDeploy), Nothing, NONE,
        [PublishRequest] => 201 VersionBrief,
        "Publishes the draft as the version that it names.";
    Versions = Get "/tenants/{t}/workflows/{name}/versions", Needs(WorkflowMonitor), Nothing, LIST,
        none => 200 (Page<VersionBrief>),
        "Lists the published versions of a workflow.";
    ShowVersion = Get "/tenants/{t}/workflows/{name}/versions/{v}", Needs(WorkflowMonitor),
        Nothing, NONE, none => 200 VersionAnswer,
        "Shows a published version with its document.";
    DrawVersion = Get "/tenants/{t}/workflows/{name}/versions/{v}/graph", Needs(WorkflowMonitor),
        Nothing, FORMAT, none => 200 PictureAnswer,
        "Draws a published version.";

    DiffWorkflow = Get "/tenants/{t}/workflows/{name}/diff", Needs(WorkflowMonitor), Nothing,
        FROM_TO, none => 200 Anything,
        "Says what two versions of a workflow do differently.";
    SimulateWorkflow = Post "/tenants/{t}/workflows/simulate", Needs(WorkflowEdit), Nothing, NONE,
        SimulateRequest => 200 Anything,
        "Says what an instance of a document would do on a virtual clock; nobody is called.";
    TestWorkflow = Post "/tenants/{t}/workflows/{name}/test", Needs(WorkflowEdit), Nothing, NONE,
        [TestRequest] => 200 Anything,
        "Runs the test cases of a workflow; nobody is called.";
    ImportWorkflow = Post "/tenants/{t}/workflows/import", Needs(WorkflowCreate), Nothing, NONE,
        ImportRequest => 201 Anything,
        "Makes a workflow of a document in another language, and says what it could not keep.";
    ExportWorkflow = Get "/tenants/{t}/workflows/{name}/export", Needs(WorkflowMonitor), Nothing,
        EXPORT, none => 200 Anything,
        "Shows the text of a workflow, as it was written or in another form.";
    WorkflowCode = Get "/tenants/{t}/workflows/{name}/code", Needs(WorkflowMonitor), Nothing,
        CODE, none => 200 CodeAnswer,
        "Writes types of a workflow and a client that starts, sends and asks, for programs.";

    PlanUpgrade = Post "/tenants/{t}/workflows/{name}/upgrade-plan", Needs(WorkflowDeploy),
        Nothing, NONE, [UpgradePlanRequest] => 201 JobAnswer,
        "Says which open instances can go on with another version, and plans to take them over.";
    ShowUpgrade = Get "/tenants/{t}/workflows/{name}/upgrade-plan/{id}", Needs(WorkflowDeploy),
        Nothing, NONE, none => 200 JobAnswer,
        "Shows how far an upgrade has come.";
    StartUpgrade = Post "/tenants/{t}/workflows/{name}/upgrade-plan/{id}/start",
        Needs(WorkflowDeploy), Nothing, NONE, none => 200 JobAnswer,
        "Starts an upgrade, or lets one go on that is paused.";
    PauseUpgrade = Post "/tenants/{t}/workflows/{name}/upgrade-plan/{id}/pause",
        Needs(WorkflowDeploy), Nothing, NONE, none => 200 JobAnswer,
        "Stops an upgrade until it is started again.";
    AbortUpgrade = Post "/tenants/{t}/workflows/{name}/upgrade-plan/{id}/abort",
        Needs(WorkflowDeploy), Nothing, NONE, none => 200 JobAnswer,
        "Ends an upgrade; instances that were taken over stay so.";

    Start = Post "/tenants/{t}/instances", Needs(WorkflowExecute), Nothing, WAIT,
        StartRequest => 201 Anything,
        "Starts an instance; it is durable when the answer comes.";
    Instances = Get "/tenants/{t}/instances", Needs(WorkflowMonitor), Nothing, INSTANCES,
        none => 200 (Page<InstanceBrief>),
        "Lists instances, the newest first.";
    ShowInstance = Get "/tenants/{t}/instances/{id}", Needs(WorkflowMonitor), Nothing, SHOW,
        none => 200 Anything,
        "Shows the state of an instance.";
    DeleteInstance = Delete "/tenants/{t}/instances/{id}", Needs(WorkflowDelete), Nothing, NONE,
        none => 204 none,
        "Deletes an instance that has ended; its history goes as the log is compacted.";
    InstanceEvents = Get "/tenants/{t}/instances/{id}/events", Needs(WorkflowMonitor), Nothing,
        EVENTS, none => 200 (Page<Anything>),
        "Shows the history of an instance.";
    SendEvent = Post "/tenants/{t}/instances/{id}/events", Needs(WorkflowExecute), Nothing, WAIT,
        EventRequest => 200 Anything,
        "Sends an event; the step is durable when the answer comes.";
    QueryInstance = Post "/tenants/{t}/instances/{id}/query", Needs(WorkflowMonitor), Nothing,
        NONE, QueryRequest => 200 Anything,
        "Evaluates an expression over the state of an instance.";
    PauseInstance = Post "/tenants/{t}/instances/{id}/pause", Needs(WorkflowExecute), Nothing,
        NONE, [ReasonRequest] => 200 Anything,
        "Stops an instance between two steps.";
    ResumeInstance = Post "/tenants/{t}/instances/{id}/resume", Needs(WorkflowExecute), Nothing,
        NONE, [ReasonRequest] => 200 Anything,
        "Lets a paused instance go on.";
    CancelInstance = Post "/tenants/{t}/instances/{id}/cancel", Needs(WorkflowExecute), Nothing,
        NONE, [ReasonRequest] => 200 Anything,
        "Asks an instance to end: it leaves its states and undoes what it did.";
    TerminateInstance = Post "/tenants/{t}/instances/{id}/terminate", Needs(WorkflowExecute),
        Nothing, NONE, [ReasonRequest] => 200 Anything,
        "Ends an instance at once, without exit actions and compensation.";
    RetryInstance = Post "/tenants/{t}/instances/{id}/retry", Needs(WorkflowExecute), Nothing,
        NONE, [ReasonRequest] => 200 Anything,
        "Lets an instance that failed, or waits for a person, go on where it was.";
    SkipEffect = Post "/tenants/{t}/instances/{id}/skip", Needs(WorkflowExecute), Nothing, NONE,
        SkipRequest => 200 Anything,
        "Leaves an effect out that failed or waits for a person.";
    EditData = Patch "/tenants/{t}/instances/{id}/data", Needs(WorkflowEdit), Nothing, NONE,
        EditRequest => 200 Anything,
        "Changes the data of an instance by hand.";
    MoveInstance = Post "/tenants/{t}/instances/{id}/move", Needs(WorkflowEdit), Nothing, NONE,
        MoveRequest => 200 Anything,
        "Puts a paused instance into other states.";

    StreamInstance = Get "/tenants/{t}/instances/{id}/stream", Needs(WorkflowMonitor), Nothing,
        AFTER, none => 200 Anything,
        "Streams the history of an instance as server-sent events, and goes on with what comes.";
    ReplayInstance = Get "/tenants/{t}/instances/{id}/replay", Needs(WorkflowMonitor), Nothing,
        UNTIL, none => 200 Anything,
        "Shows an instance as it was after a record.";
    InstanceTree = Get "/tenants/{t}/instances/{id}/tree", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 Anything,
        "Shows the effects of an instance that are open, and its children, as trees.";
    InstanceEffects = Get "/tenants/{t}/instances/{id}/effects", Needs(WorkflowMonitor), Nothing,
        LIST, none => 200 (Page<Anything>),
        "Lists every effect of an instance, and what became of it.";
    InstanceState = Get "/tenants/{t}/instances/{id}/state", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 Anything,
        "Says where an instance is.";
    InstanceMetrics = Get "/tenants/{t}/instances/{id}/metrics", Needs(WorkflowMonitor), Nothing,
        NONE, none => 200 Anything,
        "Counts what an instance has done, and what is open in it.";
    TenantStats = Get "/tenants/{t}/stats", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 Anything,
        "Counts the instances of a tenant by status and workflow.";
    InstanceTransitions = Get "/tenants/{t}/instances/{id}/transitions", Needs(WorkflowMonitor),
        Nothing, NONE, none => 200 Anything,
        "Lists the events that an instance accepts now, with where each may lead.";
    ValidateEvent = Post "/tenants/{t}/instances/{id}/validate-event", Needs(WorkflowMonitor),
        Nothing, NONE, ProbeRequest => 200 Anything,
        "Says what an event would do to an instance, and does nothing.";
    ForkInstance = Post "/tenants/{t}/instances/{id}/fork", Needs(WorkflowExecute), Nothing, NONE,
        [ForkRequest] => 201 Anything,
        "Starts an instance that shares the history of another up to a record.";
    SendEvents = Post "/tenants/{t}/events/batch", Needs(WorkflowExecute), Nothing, NONE,
        BatchRequest => 200 Anything,
        "Sends up to 1,000 events at once; each is durable when the answer comes.";
    Broadcast = Post "/tenants/{t}/broadcast", Needs(WorkflowExecute), Nothing, NONE,
        BroadcastRequest => 200 Anything,
        "Sends an event to every open instance that fits.";
    BulkInstances = Post "/tenants/{t}/instances/bulk", Needs(WorkflowExecute), Nothing, NONE,
        BulkRequest => 202 JobAnswer,
        "Does one thing to every instance that fits, as a job.";
    Jobs = Get "/tenants/{t}/jobs", Member, Nothing, LIST, none => 200 (Page<JobAnswer>),
        "Lists one's own jobs, the newest first; all of them for who looks after the tenant.";
    ShowJob = Get "/tenants/{t}/jobs/{id}", Member, Nothing, NONE, none => 200 JobAnswer,
        "Shows how far a job has come.";
    CancelJob = Post "/tenants/{t}/jobs/{id}/cancel", Member, Nothing, NONE,
        none => 200 JobAnswer,
        "Ends a job; what it has done stays.";
    PauseJob = Post "/tenants/{t}/jobs/{id}/pause", Member, Nothing, NONE, none => 200 JobAnswer,
        "Stops a job until it is resumed.";
    ResumeJob = Post "/tenants/{t}/jobs/{id}/resume", Member, Nothing, NONE,
        none => 200 JobAnswer,
        "Lets a paused job go on, also where it was held because of what went wrong.";
    Schedules = Get "/tenants/{t}/schedules", Needs(WorkflowMonitor), Nothing, LIST,
        none => 200 (Page<ScheduleAnswer>),
        "Lists schedules, the oldest first.";
    CreateSchedule = Post "/tenants/{t}/schedules", Needs(WorkflowEdit), Nothing, NONE,
        ScheduleRequest => 201 ScheduleAnswer,
        "Starts a workflow at the times of a cron pattern.";
    ShowSchedule = Get "/tenants/{t}/schedules/{id}", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 ScheduleAnswer,
        "Shows a schedule with its next times.";
    ChangeSchedule = Patch "/tenants/{t}/schedules/{id}", Needs(WorkflowEdit), Match, NONE,
        SchedulePatch => 200 ScheduleAnswer,
        "Changes what a schedule starts, or when.";
    EndSchedule = Delete "/tenants/{t}/schedules/{id}", Needs(WorkflowEdit), Nothing, NONE,
        none => 204 none,
        "Ends a schedule; runs that it has started go on.";
    PauseSchedule = Post "/tenants/{t}/schedules/{id}/pause", Needs(WorkflowEdit), Nothing, NONE,
        [ReasonRequest] => 200 ScheduleAnswer,
        "Stops a schedule until it is resumed.";
    ResumeSchedule = Post "/tenants/{t}/schedules/{id}/resume", Needs(WorkflowEdit), Nothing,
        NONE, [ReasonRequest] => 200 ScheduleAnswer,
        "Lets a paused schedule go on.";
    RunSchedule = Post "/tenants/{t}/schedules/{id}/run", Needs(WorkflowExecute), Nothing, NONE,
        none => 201 Anything,
        "Starts what a schedule would start, now.";

    Webhooks = Get "/tenants/{t}/webhooks", Needs(WorkflowEdit), Nothing, LIST,
        none => 200 (Page<WebhookAnswer>),
        "Lists webhooks.";
    CreateWebhook = Post "/tenants/{t}/webhooks", Needs(WorkflowEdit), Nothing, NONE,
        WebhookRequest => 201 WebhookAnswer,
        "Tells an address what happens to instances; the secret is in the answer, and never again.";
    RemoveWebhook = Delete "/tenants/{t}/webhooks/{id}", Needs(WorkflowEdit), Nothing, NONE,
        none => 204 none,
        "Removes a webhook; nothing more is told.";
    Deliveries = Get "/tenants/{t}/webhooks/{id}/deliveries", Needs(WorkflowEdit), Nothing, FIRST,
        none => 200 (Page<DeliveryAnswer>),
        "Lists what was told to a webhook, the newest first.";
    Redeliver = Post "/tenants/{t}/webhooks/{id}/redeliver", Needs(WorkflowEdit), Nothing, NONE,
        RedeliverRequest => 200 DeliveryAnswer,
        "Tells a webhook once more what it was told.";
    ReceiveHook = Post "/hooks/{t}/{name}", Public, Nothing, NONE, [Anything] => 202 HookAnswer,
        "Takes a message for a trigger of type `webhook`, with the proof that it asks for.";
    Modules = Get "/tenants/{t}/modules", Member, Nothing, LIST, none => 200 (Page<Anything>),
        "Lists what can be started, with its states and events.";
    EffectKinds = Get "/tenants/{t}/effects/kinds", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 (Page<Anything>),
        "Lists the kinds of effects that a document may have.";

    Effects = Get "/tenants/{t}/effects", Needs(WorkflowMonitor), Nothing, EFFECTS,
        none => 200 (Page<Anything>),
        "Lists effects of open instances that run, wait or failed.";
    ShowEffect = Get "/tenants/{t}/effects/{id}", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 Anything,
        "Shows an effect and what became of it; `{id}` is `INSTANCE:SEQ`.";
    StreamEffect = Get "/tenants/{t}/effects/{id}/stream", Needs(WorkflowMonitor), Nothing, NONE,
        none => 200 Anything,
        "Streams how an effect stands as server-sent events, until it has ended.";
    RunEffect = Post "/tenants/{t}/instances/{id}/effects", Needs(EffectsExecute), Nothing, NONE,
        EffectRequest => 202 Anything,
        "Has an instance run an effect outside of its states.";
    CancelEffect = Delete "/tenants/{t}/instances/{id}/effects/{eid}", Needs(EffectsExecute),
        Nothing, NONE, none => 200 Anything,
        "Calls off an effect that was asked for; it undoes what it did.";
    NamedEffects = Get "/tenants/{t}/effects/named", Needs(WorkflowMonitor), Nothing, LIST,
        none => 200 (Page<NamedEffectAnswer>),
        "Lists the effects that the tenant keeps under a name.";
    CreateNamedEffect = Post "/tenants/{t}/effects/named", Needs(EffectsCreate), Nothing, NONE,
        NamedEffectRequest => 201 NamedEffectAnswer,
        "Keeps an effect under a name, for every instance of the tenant.";
    ShowNamedEffect = Get "/tenants/{t}/effects/named/{name}", Needs(WorkflowMonitor), Nothing,
        NONE, none => 200 NamedEffectAnswer,
        "Shows an effect that the tenant keeps under a name.";
    ReplaceNamedEffect = Put "/tenants/{t}/effects/named/{name}", Needs(EffectsEdit), Match, NONE,
        NamedEffectReplacement => 200 NamedEffectAnswer,
        "Replaces an effect that the tenant keeps under a name; what runs already is not changed.";
    DeleteNamedEffect = Delete "/tenants/{t}/effects/named/{name}", Needs(EffectsDelete), Nothing,
        NONE, none => 204 none,
        "Deletes an effect that the tenant keeps under a name; what runs already goes on.";

    Tasks = Get "/tenants/{t}/tasks", Member, Nothing, LIST, none => 200 (Page<Anything>),
        "Lists tasks that wait for people; all of them for who may see instances.";
    ClaimTask = Post "/tenants/{t}/tasks/{id}/claim", Member, Nothing, AT,
        none => 200 Anything,
        "Takes a task, so that nobody else answers it; `{id}` is the instance that asks.";
    ReleaseTask = Post "/tenants/{t}/tasks/{id}/release", Member, Nothing, AT,
        none => 200 Anything,
        "Gives a task back.";
    DecideTask = Post "/tenants/{t}/tasks/{id}/decide", Member, Nothing, AT,
        DecideRequest => 200 Anything,
        "Answers a task.";
    ShowTask = Get "/tenants/{t}/tasks/{id}", Member, Nothing, AT, none => 200 Anything,
        "Shows a task with what was said to it; `{id}` is the instance that asks.";
    DelegateTask = Post "/tenants/{t}/tasks/{id}/delegate", Member, Nothing, AT,
        DelegateRequest => 200 Anything,
        "Hands a task to another member, who has claimed it from then on.";
    CommentTask = Post "/tenants/{t}/tasks/{id}/comment", Member, Nothing, AT,
        CommentRequest => 200 Anything,
        "Says something to a task, and answers nothing.";
    Incidents = Get "/tenants/{t}/incidents", Needs(WorkflowMonitor), Nothing, LIST,
        none => 200 (Page<Anything>),
        "Lists what waits for a person to decide.";
    ResolveIncident = Post "/tenants/{t}/incidents/{id}/resolve", Needs(WorkflowExecute), Nothing,
        AT, ResolveRequest => 200 Anything,
        "Decides an incident.";
    AssignIncident = Post "/tenants/{t}/incidents/{id}/assign", Needs(WorkflowExecute), Nothing,
        AT, AssignRequest => 200 Anything,
        "Gives an incident to somebody.";

    Audit = Get "/tenants/{t}/audit", Needs(AuditLogsView), Nothing, PAGE,
        none => 200 (Page<Anything>),
        "Lists audit entries, the newest first.";
    VerifyAudit = Post "/tenants/{t}/audit/verify", Needs(AuditLogsView), Nothing, NONE,
        none => 200 AuditCheck,
        "Checks that every audit entry is what it was.";
    AuditCheckpoints = Get "/tenants/{t}/audit/checkpoints", Needs(AuditLogsView), Nothing, PAGE,
        none => 200 CheckpointsAnswer,
        "Lists signed ends of the audit trail, the newest first, with the keys that signed them.";
    ExportAudit = Get "/tenants/{t}/audit/export", Needs(AuditLogsView), Nothing, TRAIL,
        none => 200 Anything,
        "Takes the audit trail out, in lines, with what is signed over it.";
    Alerts = Get "/tenants/{t}/alerts", Needs(SystemMetricsView), Nothing, ALERTS,
        none => 200 (Page<AlertAnswer>),
        "Lists what the audit trail gives reason to look at, the newest first.";
    AcknowledgeAlert = Post "/tenants/{t}/alerts/{id}/ack", Needs(TenantSettings), Nothing, NONE,
        none => 200 AlertAnswer,
        "Says that somebody has seen to an alert.";
    AlertRules = Get "/tenants/{t}/alerts/rules", Needs(SystemMetricsView), Nothing, LIST,
        none => 200 (Page<AlertRuleAnswer>),
        "Lists rules for alerts.";
    CreateAlertRule = Post "/tenants/{t}/alerts/rules", Needs(TenantSettings), Nothing, NONE,
        AlertRuleRequest => 201 AlertRuleAnswer,
        "Makes a rule: which number is too high, and whom to tell.";
    ShowAlertRule = Get "/tenants/{t}/alerts/rules/{id}", Needs(SystemMetricsView), Nothing, NONE,
        none => 200 AlertRuleAnswer,
        "Shows a rule for alerts.";
    ChangeAlertRule = Patch "/tenants/{t}/alerts/rules/{id}", Needs(TenantSettings), Match, NONE,
        ChangeAlertRuleRequest => 200 AlertRuleAnswer,
        "Changes a rule for alerts.";
    RemoveAlertRule = Delete "/tenants/{t}/alerts/rules/{id}", Needs(TenantSettings), Nothing,
        NONE, none => 204 none,
        "Removes a rule for alerts.";

    Secrets = Get "/tenants/{t}/secrets", Needs(WorkflowEdit), Nothing, LIST,
        none => 200 (Page<SecretAnswer>),
        "Lists secrets without their values; only names for who may not change settings.";
    ShowSecret = Get "/tenants/{t}/secrets/{name}", Needs(TenantSettings), Nothing, NONE,
        none => 200 SecretAnswer,
        "Shows what is known of a secret; never its value.";
    SetSecret = Put "/tenants/{t}/secrets/{name}", Needs(TenantSettings), Nothing, NONE,
        SecretRequest => 200 SecretAnswer,
        "Sets a secret; the value before is gone.";
    DeleteSecret = Delete "/tenants/{t}/secrets/{name}", Needs(TenantSettings), Nothing, NONE,
        none => 204 none,
        "Deletes a secret.";

    PrivacyReport = Get "/tenants/{t}/privacy/report", Needs(AuditLogsView), Nothing, NONE,
        none => 200 PrivacyReport,
        "Counts the personal data that was found, by place and type.";
    DetectPersonal = Post "/tenants/{t}/privacy/detect", Needs(AuditLogsView), Nothing, NONE,
        DetectRequest => 200 DetectAnswer,
        "Finds personal data in a text or value, and keeps nothing of it.";
    ExportSubject = Post "/tenants/{t}/privacy/export-subject", Needs(TenantSettings), Fresh, NONE,
        SubjectRequest => 200 Anything,
        "Returns everything that is kept about a person in the tenant, place by place.";
    EraseSubject = Post "/tenants/{t}/privacy/erase-subject", Needs(TenantSettings), Fresh, NONE,
        EraseRequest => 200 Anything,
        "Destroys the key of a person: the values of all their instances are gone for good.";

    ExportMe = Post "/me/export", SelfOnly, Fresh, NONE, none => 200 Anything,
        "Returns everything that is kept about one's own account, in all tenants.";
    DeleteMe = Delete "/me", SelfOnly, Fresh, NONE, none => 204 none,
        "Deletes one's own account: it leaves all tenants, and what is about the person is erased.";
    AcceptTransfer = Post "/tenants/{t}/transfer/accept", Member, Fresh, NONE, none => 204 none,
        "Becomes an owner, as was offered.";
    WithdrawTransfer = Delete "/tenants/{t}/transfer", Member, Nothing, NONE, none => 204 none,
        "Takes an offer of ownership back, or declines it.";

    ServiceAccounts = Get "/tenants/{t}/service-accounts", Needs(TenantUserManagement), Nothing,
        LIST, none => 200 (Page<ServiceAccountAnswer>),
        "Lists service accounts.";
    CreateServiceAccount = Post "/tenants/{t}/service-accounts", Needs(TenantUserManagement),
        Nothing, NONE, ServiceAccountRequest => 201 ServiceAccountAnswer,
        "Makes a service account: a member without a login, which acts through API keys.";
    DeleteServiceAccount = Delete "/tenants/{t}/service-accounts/{id}",
        Needs(TenantUserManagement), Fresh, NONE, none => 204 none,
        "Deletes a service account and its keys.";

    Usage = Get "/tenants/{t}/usage", Needs(AnalyticsView), Nothing, MONTH, none => 200 UsageAnswer,
        "Shows how much was used in a month, and what the plan holds.";
    ChangePlan = Put "/tenants/{t}/plan", Needs(TenantBilling), Fresh, NONE,
        PlanRequest => 200 TenantAnswer,
        "Chooses a plan.";
    Invoices = Get "/tenants/{t}/invoices", Needs(TenantBilling), Nothing, LIST,
        none => 200 (Page<InvoiceAnswer>),
        "Lists invoices, the newest first; that of the present month is a draft.";
    ShowInvoice = Get "/tenants/{t}/invoices/{id}", Needs(TenantBilling), Nothing, NONE,
        none => 200 InvoiceAnswer,
        "Shows the invoice of a month.";
    PayInvoice = Post "/tenants/{t}/invoices/{id}/pay", Needs(TenantBilling), Fresh, NONE,
        PayRequest => 200 InvoiceAnswer,
        "Says by which reference an invoice was paid; it stays open until that is confirmed.";
    Budgets = Get "/tenants/{t}/budgets", Needs(TenantBilling), Nothing, NONE,
        none => 200 BudgetsAnswer,
        "Shows what calls of models may cost in a day and a month, and what they have cost.";
    SetBudgets = Put "/tenants/{t}/budgets", Needs(TenantBilling), Fresh, NONE,
        BudgetsRequest => 200 BudgetsAnswer,
        "Sets what calls of models may cost in a day and a month.";

    AdminUsers = Get "/admin/users", Platform, Nothing, USERS, none => 200 (Page<AdminUserAnswer>),
        "Lists users, or finds one by their address.";
    AdminChangeUser = Patch "/admin/users/{id}", Platform, Fresh, NONE,
        AdminUserRequest => 200 AdminUserAnswer,
        "Suspends a user, lets them in again, or makes them look after the platform.";
    AdminTenants = Get "/admin/tenants", Platform, Nothing, IDS,
        none => 200 (Page<AdminTenantAnswer>),
        "Lists tenants.";
    AdminChangeTenant = Patch "/admin/tenants/{id}", Platform, Fresh, NONE,
        AdminTenantRequest => 200 AdminTenantAnswer,
        "Suspends a tenant, opens it again, or changes its plan.";
    BreakGlass = Post "/admin/break-glass", Platform, Fresh, NONE,
        BreakGlassRequest => 201 BreakGlassAnswer,
        "Lets who looks after the platform read in a tenant for an hour; its audit trail tells.";
    ResetFactors = Post "/admin/users/{id}/reset-factors", Platform, Fresh, NONE,
        ResetFactorsRequest => 200 AdminUserAnswer,
        "Takes all second factors of a user away who has lost them; their sessions end.";

    TenantIssuers = Get "/tenants/{t}/issuers", Needs(TenantSettings), Nothing, LIST,
        none => 200 (Page<TenantIssuerAnswer>),
        "Lists issuers that members of the tenant log in at, without their secrets.";
    SetIssuer = Put "/tenants/{t}/issuers/{name}", OwnerOnly, Fresh, NONE,
        TenantIssuerRequest => 200 TenantIssuerAnswer,
        "Sets an issuer of the tenant once it has described itself; sessions from it end.";
    RemoveIssuer = Delete "/tenants/{t}/issuers/{name}", OwnerOnly, Fresh, NONE,
        none => 204 none,
        "Removes an issuer of the tenant; sessions from it end.";

    AdminFlags = Get "/admin/flags", Platform, Nothing, NONE, none => 200 (Page<FlagAnswer>),
        "Lists feature flags and how they are set.";
    AdminSetFlag = Patch "/admin/flags/{name}", Platform, Fresh, NONE,
        FlagRequest => 200 FlagAnswer,
        "Sets a feature flag for all tenants, or for single ones.";
    AdminNumbers = Get "/admin/metrics", Platform, Nothing, NONE, none => 200 NumbersAnswer,
        "Shows the numbers of the process.";
    AdminNodes = Get "/admin/nodes", Platform, Nothing, NONE, none => 200 (Page<NodeAnswer>),
        "Lists the nodes of the platform: the one that answers.";
    AdminJobs = Get "/admin/jobs", Platform, Nothing, FIRST,
        none => 200 (Page<AdminJobAnswer>),
        "Lists jobs of all tenants, those that changed last first.";
    AdminAlerts = Get "/admin/alerts", Platform, Nothing, ALERTS,
        none => 200 (Page<AlertAnswer>),
        "Lists alerts about the platform, such as damage that was found at rest, the newest first.";
    AdminRotateKeys = Post "/admin/signing-keys/rotate", Platform, Fresh, NONE,
        [RotateKeysRequest] => 200 RotatedAnswer,
        "Makes a new key that signs access tokens; those before can be ended at once.";
    AdminMaintenance = Get "/admin/maintenance", Platform, Nothing, NONE,
        none => 200 MaintenanceAnswer,
        "Shows whether changes are refused.";
    AdminMaintain = Post "/admin/maintenance", Platform, Fresh, NONE,
        MaintenanceRequest => 200 MaintenanceAnswer,
        "Lets changes be refused while reading goes on, or lets them in again.";
    AdminBackups = Get "/admin/backup", Platform, Nothing, NONE, none => 200 BackupsAnswer,
        "Shows how backups stand.";
    AdminBackup = Post "/admin/backup", Platform, Fresh, NONE, none => 202 BackupsAnswer,
        "Lets a backup be made now, into where backups are kept.";
    AdminPaid = Post "/admin/tenants/{id}/invoices/{month}/paid", Platform, Fresh, NONE,
        [PaidRequest] => 200 InvoiceAnswer,
        "Confirms that an invoice is paid.";
    AdminCredit = Post "/admin/tenants/{id}/invoices/{month}/credit", Platform, Fresh, NONE,
        CreditRequest => 200 InvoiceAnswer,
        "Takes something off an invoice, with a credit note.";
}
