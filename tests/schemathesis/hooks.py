"""Who asks when schemathesis calls a server, and about what.

A world is a user with a tenant in which there is something of each kind. What would end it is asked
by somebody who was made for that one request, what belongs to the platform by who looks after it.
`schemathesis.toml` says what is a good answer, `crates/traaviis/tests/it/schemathesis.rs` runs it.
"""

import http.client
import json
import os
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

# What ends the session, the account or the tenant that asks.
ENDS = {"Logout", "DeleteMe", "DeleteTenant", "Leave", "ChangePassword", "Switch", "EndSession"}

DOOR = """
traaviis: "1"
name: Door
version: 1.0.0
initial: shut
events: {open: {}, shut: {}}
states:
  shut: {on: {open: ajar}}
  ajar: {on: {shut: shut}}
"""


def ask(method, path, token=None, body=None):
    """Sends a request and returns status and body."""
    # From an address of its own: one from which so much has been tried is kept waiting.
    source = ".".join(["127"] + [str(random.randint(1, 250)) for _ in range(3)])
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
        self.make("POST", "/workflows", {"document": DOOR})
        self.make("POST", "/workflows/Door/publish")
        self.make("PUT", "/secrets/door", {"value": "open sesame"})
        made = {
            "instances": {"workflow": "Door"},
            "invitations": {"email": "bob@example.org", "role": "viewer"},
            "api-keys": {"name": "ci", "scopes": ["workflow_monitor"]},
            "schedules": {"workflow": "Door", "cron": "0 7 * * *"},
            "service-accounts": {"name": "robot", "role": "viewer"},
        }
        self.ids = {kind: self.make("POST", f"/{kind}", body)["id"] for kind, body in made.items()}
        event = {"action": "send", "event": "open"}
        job = {"operation": event, "filter": {"workflow": "Door"}}
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
            return {"workflows": "Door", "secrets": "door"}.get(before)
        return self.names.get(parameter)


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


@schemathesis.hook
def before_call(context, case, kwargs):
    """Names what is there in three requests of four that name anything as a good request would."""
    meta = case.meta
    if meta is None or not case.path_parameters:
        return
    component = meta.components.get(ParameterLocation.PATH)
    if component is None or component.mode == GenerationMode.NEGATIVE:
        return
    is_linked = meta.phase.name == TestPhase.STATEFUL
    for parameter in list(case.path_parameters):
        # Later steps of a scenario name what the earlier ones have made.
        if (is_linked and parameter != "t") or random.random() < 0.25:
            continue
        name = world().name(case.operation.path, parameter)
        if name is not None:
            case.path_parameters[parameter] = name
