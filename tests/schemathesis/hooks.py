"""Who asks when schemathesis calls a server, and about what.

A world is a user with a tenant in which there is something of each kind. What would end it is asked
by somebody who was made for that one request, what belongs to the platform by who looks after it.
`schemathesis.toml` says what is a good answer, `crates/traaviis/tests/it/schemathesis.rs` runs it.
"""

import http.client
import json
import os
import pathlib
import random
import threading
import time
import uuid

import schemathesis
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode
from schemathesis.generation.meta import TestPhase

SERVER = os.environ["TRAAVIIS_SERVER"].removeprefix("http://")
PASSWORD = "correct horse battery"
ADMIN = "root@example.org"
# A proof of who one is counts for ten minutes, an access token for fifteen.
WORLD_SECONDS = 400
# The same choices each time.
CHANCE = random.Random(20)

# What ends the session, the account or the tenant that asks.
ENDS = {
    "Logout", "DeleteMe", "DeleteTenant", "Leave", "ChangePassword", "Switch", "EndSession",
    "EndOtherSessions",
}

DOOR = """
traaviis: "1"
name: Door
version: 1.0.0
initial: shut
events: {open: {}, shut: {}}
states:
  shut: {on: {open: ajar}}
  ajar: {on: {shut: shut}}
tests: [{name: it opens, steps: [{send: open}], expect: {state: ajar}}]
"""

# Asks somebody.
ASKS = """
traaviis: "1"
name: Asks
version: 1.0.0
initial: asking
states:
  asking:
    invoke:
      - {id: ask, effect: {type: human_task, title: "Who?", outcomes: [approve]}, onDone: done}
  done: {type: final}
"""

# Waits for somebody to decide.
ENDLESS = (pathlib.Path(__file__).parent / "endless.yaml").read_text()


def ask(method, path, token=None, body=None):
    """Sends a request and returns status and body."""
    # From an address of its own: one from which so much has been tried is kept waiting.
    source = ".".join(["127"] + [str(CHANCE.randint(1, 250)) for _ in range(3)])
    connection = http.client.HTTPConnection(SERVER, timeout=30, source_address=(source, 0))
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    connection.request(method, f"/api/v1{path}", json.dumps(body) if body else None, headers)
    answer = connection.getresponse()
    status, text = answer.status, answer.read()
    connection.close()
    return status, json.loads(text or b"null")


def token_of(path, email):
    """Registers or logs in; returns the token."""
    status, answer = ask("POST", path, None, {"email": email, "password": PASSWORD})
    assert status in (200, 201), answer
    return answer["access_token"]


def register():
    """Makes an account with a tenant; returns its token."""
    return token_of("/auth/register", f"{uuid.uuid4().hex}@example.org")


class World:
    """A user with a tenant in which there is something of each kind."""

    def __init__(self):
        self.until = time.monotonic() + WORLD_SECONDS
        self.token = register()
        self.admin = token_of("/auth/login", ADMIN)
        self.names = {"t": "current", "v": "1.0.0", "month": time.strftime("%Y-%m")}
        for name, document in {"Door": DOOR, "Asks": ASKS, "Endless": ENDLESS}.items():
            self.make("POST", "/workflows", {"document": document})
            self.make("POST", f"/workflows/{name}/publish")
        self.make("PUT", "/secrets/door", {"value": "open sesame"})
        made = {
            "instances": {"workflow": "Door"},
            "invitations": {"email": "bob@example.org", "role": "viewer"},
            "api-keys": {"name": "ci", "scopes": ["workflow_monitor"]},
            "schedules": {"workflow": "Door", "cron": "0 7 * * *"},
            "service-accounts": {"name": "robot", "role": "viewer"},
            "roles": {"name": "Porter", "base": "viewer", "permissions": ["workflow_monitor"]},
            "webhooks": {"url": "https://hooks.example.org/", "events": ["finished"]},
            "alerts/rules": {"name": "doors", "measure": "incidents_open", "above": 1_000},
        }
        self.ids = {kind: self.make("POST", f"/{kind}", body)["id"] for kind, body in made.items()}
        event = {"action": "send", "event": "open"}
        job = {"operation": event, "filter": {"workflow": "Door"}}
        self.ids["rules"] = self.ids["alerts/rules"]
        self.ids["tasks"] = self.make("POST", "/instances", {"workflow": "Asks"})["id"]
        self.ids["incidents"] = self.make("POST", "/instances", {"workflow": "Endless"})["id"]
        delay = {"type": "delay", "duration": "1s"}
        self.make("POST", "/effects/named", {"name": "pause", "do": delay})
        guest = {"email": f"{uuid.uuid4().hex}@example.org", "role": "viewer"}
        invited = self.make("POST", "/invitations", guest)["token"]
        accept = {"token": invited, "password": PASSWORD}
        self.ids["members"] = ask("POST", "/invitations/accept", None, accept)[1]["user"]["id"]
        self.ids["jobs"] = self.make("POST", "/instances/bulk", job)["id"]
        self.ids["upgrade-plan"] = self.make("POST", "/workflows/Door/upgrade-plan", {})["id"]

    def make(self, method, path, body=None):
        """Makes something in the tenant."""
        status, answer = ask(method, f"/tenants/current{path}", self.token, body)
        assert status in (200, 201, 202), (path, status, answer)
        return answer

    def name(self, path, parameter):
        """Returns what stands in a path for one of its parameters, if there is such a thing."""
        before = path.split("{" + parameter + "}")[0].strip("/").split("/")[-1]
        if parameter == "id":
            return self.ids.get(before)
        if parameter == "name":
            return {"workflows": "Door", "secrets": "door", "named": "pause"}.get(before)
        return self.names.get(parameter)


# Fields whose meaning can be wrong where their form is not; an empty name is the whole body.
MEANT = {
    # A password is none of those that are tried first, and more than the name of its user.
    "Register": ["/password"],
    "ConfirmReset": ["/password"],
    "ChangePassword": ["/password", "/new"],
    "AcceptInvitation": ["/password"],
    # A refresh token may be left out where a cookie holds it, which no request here has.
    "Refresh": ["/refresh_token"],
    # What proves somebody: a password where there is one, an answer of an authenticator.
    "Reauthenticate": ["/password", ""],
    "ConfirmFactor": ["/credential", ""],
    "LoginByPasskey": ["/credential"],
    # A picture is at an address, a language has a tag, a time zone a name; a token is one's own.
    "ChangeMe": ["/avatar_url", "/locale", "/timezone"],
    "ExchangeToken": [""],
    # A document is a language of its own, and so is a draft that is not finished.
    "CreateWorkflow": [""],
    "ReplaceDraft": [""],
    "PatchDraft": [""],
    "RenameWorkflow": [""],
    "Publish": [""],
    "PlanUpgrade": [""],
    "DiffWorkflow": [""],
    "ExportWorkflow": [""],
    "SimulateWorkflow": [""],
    "TestWorkflow": [""],
    "ImportWorkflow": [""],
    # So are effects, expressions, patterns of time, addresses and networks.
    "CreateNamedEffect": [""],
    "ReplaceNamedEffect": [""],
    "RunEffect": [""],
    "QueryInstance": [""],
    "SetIssuer": ["/url", "/domains/", "/rules", "/otherwise"],
    "CreateSchedule": ["/cron", "/workflow", "/jitter", "/catch_up_window"],
    "ChangeSchedule": ["/cron", "/workflow", "/jitter", "/catch_up_window"],
    "CreateWebhook": ["/url"],
    "CreateApiKey": ["/ip_allow/"],
    # A workflow says which input, events and outcomes it takes, and its history which records and
    # data there are.
    "Start": [""],
    "SendEvent": [""],
    "EditData": [""],
    "MoveInstance": [""],
    "SkipEffect": [""],
    "ForkInstance": [""],
    "ReplayInstance": [""],
    "DecideTask": [""],
    "DelegateTask": ["/to"],
    "ResolveIncident": [""],
    "BulkInstances": [""],
    "Broadcast": [""],
    # A member, a role or a tenant that a body names is there, or is not.
    "TransferTenant": ["/user_id"],
    "ChangeMember": ["/role"],
    "Invite": ["/role"],
    "CreateServiceAccount": ["/role"],
    "AdminSetFlag": ["/tenants/"],
    # How long a duration is, no pattern says.
    "CreateAlertRule": ["/window", "/cool_down"],
    "ChangeAlertRule": ["/window", "/cool_down"],
    # The engine itself reads the cursor, and names no field.
    "Effects": [""],
    # The name of the tenant is typed, an amount is left of an invoice.
    "DeleteTenant": ["/confirm"],
    "AdminCredit": ["/amount"],
}
# A cursor is what the page before has given; a list is sorted by fields that its items have.
MEANT_ANYWHERE = ["cursor", "sort", "fields"]

LOCK = threading.Lock()
WORLDS = []


def world():
    """Returns the present world, a new one when the last is too old."""
    with LOCK:
        if not WORLDS or WORLDS[-1].until < time.monotonic():
            WORLDS.append(World())
        return WORLDS[-1]


@schemathesis.auth(refresh_interval=None)
class Caller:
    """Shows the token of the world, or of somebody who may be gone after the request."""

    def get(self, case, context):
        operation = context.operation
        if operation.definition.raw.get("operationId") in ENDS:
            return register()
        return world().admin if "/admin/" in operation.path else world().token

    def set(self, case, data, context):
        case.headers = case.headers or {}
        case.headers["Authorization"] = f"Bearer {data}"


def etag(path):
    """Returns the version of what stands at a path, as who asks about it would have read it."""
    token = world().admin if "/admin/" in path else world().token
    source = ".".join(["127"] + [str(CHANCE.randint(1, 250)) for _ in range(3)])
    connection = http.client.HTTPConnection(SERVER, timeout=30, source_address=(source, 0))
    connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.getheader("etag")


def written_as_whole(value):
    """Returns a body in which whole numbers have no fraction: `846.0` is one for a schema, and is
    refused where a whole number is read."""
    if isinstance(value, dict):
        return {key: written_as_whole(it) for key, it in value.items()}
    if isinstance(value, list):
        return [written_as_whole(it) for it in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names what is there in three requests of four that name anything as a good request would."""
    meta = case.meta
    if meta is None:
        return

    def is_good(location):
        component = meta.components.get(location)
        return component is not None and component.mode != GenerationMode.NEGATIVE

    if isinstance(case.body, (dict, list)) and is_good(ParameterLocation.BODY):
        case.body = written_as_whole(case.body)
    is_example = meta.phase.name == TestPhase.EXAMPLES
    is_linked = meta.phase.name == TestPhase.STATEFUL
    if case.query and is_good(ParameterLocation.QUERY):
        # Items then have fewer fields than their schema calls required, as its description says.
        case.query.pop("fields", None)
    if case.path_parameters and is_good(ParameterLocation.PATH):
        for parameter in list(case.path_parameters):
            # Later steps of a scenario name what the earlier ones have made.
            if (is_linked and parameter != "t") or (not is_example and CHANCE.random() < 0.25):
                continue
            name = world().name(case.operation.path, parameter)
            if name is not None:
                case.path_parameters[parameter] = name
    if case.headers and is_good(ParameterLocation.HEADER):
        # The same key comes with many bodies, and each key is good for one.
        if "Idempotency-Key" in case.headers:
            case.headers["Idempotency-Key"] = str(uuid.uuid4())
        # A version is nothing that anybody makes up.
        if "If-Match" in case.headers and case.method != "DELETE" and CHANCE.random() < 0.75:
            found = etag(case.formatted_path)
            if found is not None:
                case.headers["If-Match"] = found


@schemathesis.check
def refused_for_its_meaning(context, response, case):
    """A request of a good form is refused, if at all, for a field whose meaning can be wrong."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code != 422:
        return
    problem = response.json()
    operation = case.operation.definition.raw.get("operationId")
    meant = MEANT.get(operation, []) + MEANT_ANYWHERE
    if "" in meant:
        return
    errors = problem.get("errors", [])
    assert errors, f"{operation} is refused: {problem['detail']}"
    for error in errors:
        is_meant = any(error["pointer"].startswith(it) for it in meant)
        assert is_meant, f"{operation} is refused for its form: {error}"
