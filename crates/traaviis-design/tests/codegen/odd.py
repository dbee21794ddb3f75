# Made by `traaviis codegen` of Odd 1.2.3; make it again instead of changing it.
from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Literal, NotRequired, Optional, TypedDict

WORKFLOW = "Odd"
VERSION = "1.2.3"

Status = Literal[
    "running", "paused", "incident", "completing",
    "completed", "failed", "compensated", "cancelled",
]

State = Literal["a", "a.b", "end"]


class InputNothing(TypedDict):
    """`nothing` of `Input`."""

    pass


class InputPeopleItemFriend(TypedDict):
    """`friend` of `InputPeopleItem`."""

    name: NotRequired[str]


class InputPeopleItem(TypedDict):
    """`people` of `Input`."""

    friend: NotRequired[InputPeopleItemFriend]
    name: str


# What an instance starts with.
Input = TypedDict("Input", {
    "": "NotRequired[str]",
    "1x": "NotRequired[Any]",
    "_hidden": "NotRequired[str]",
    "a-b": "float",
    "a_b": "NotRequired[Optional[bool]]",
    "class": "NotRequired[int]",
    "kind": "Literal[\"small\", \"lar\\\"ge\", \"x\\\\y\"]",
    "line\nbreak": "NotRequired[str]",
    "mixed": "NotRequired[Any]",
    "nothing": "NotRequired[InputNothing]",
    "people": "list[InputPeopleItem]",
    "quo\"te\\": "NotRequired[Any]",
    "scores": "NotRequired[dict[str, int]]",
    "some": "NotRequired[list[Any]]",
    "type": "str",
})


class GoEvent(TypedDict):
    """Payload of the event `Go`."""

    of: NotRequired[Optional[str]]


class XYEventItem(TypedDict):
    """Payload of the event `x.y`."""

    n: NotRequired[int]


class ImportEvent(TypedDict):
    """Payload of the event `import`."""

    n: int


Data = Any


class Changed(TypedDict):
    """How an instance stands after a change."""

    id: str
    status: Status
    state: str
    seq: int
    output: Any


class Instance(TypedDict):
    """An instance as it is shown."""

    id: str
    status: Status
    states: list[State]
    seq: int
    data: Data
    output: Any


class Refused(Exception):
    """What a server refused, as problem+json (RFC 9457)."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Client:
    """Starts instances of the workflow, sends them events, and asks them."""

    def __init__(self, server: str, token: str, tenant: str = "current") -> None:
        self._base = f"{server}/api/v1/tenants/{urllib.parse.quote(tenant)}"
        self._token = token

    def start(self, input: Input, id: Optional[str] = None) -> Changed:
        """Starts an instance. The same `id`, a UUID of version 7, starts nothing more."""
        body = {"workflow": WORKFLOW, "input": input, "id": id}
        return _changed(self._ask("POST", "/instances", body))

    def query(self, id: str, select: str) -> Any:
        """Evaluates an expression over the state of an instance."""
        return self._ask("POST", f"/instances/{urllib.parse.quote(id)}/query", {"select": select})["value"]

    def show(self, id: str) -> Instance:
        """Shows an instance."""
        told = self._ask("GET", f"/instances/{urllib.parse.quote(id)}")["snapshot"]
        return {
            "id": told["id"],
            "status": told["status"],
            "states": told["configuration"],
            "seq": told["seq"],
            "data": told["data"],
            "output": told.get("output"),
        }

    def _send(self, id: str, event: str, data: Any, event_id: Optional[str]) -> Changed:
        body = {"event": event, "data": data, "id": event_id}
        return _changed(self._ask("POST", f"/instances/{urllib.parse.quote(id)}/events", body))

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(self._base + path, method=method)
        request.add_header("authorization", f"Bearer {self._token}")
        request.add_header("content-type", "application/json")
        if body is not None:
            request.data = json.dumps(body).encode()
        try:
            with urllib.request.urlopen(request) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            told = json.load(error)
            raise Refused(error.code, told["code"], told["detail"]) from None

    def send_go(self, id: str, data: Any = None, event_id: Optional[str] = None) -> Changed:
        """Sends the event `go`. The same `event_id` is not taken again."""
        return self._send(id, "go", data, event_id)

    def send_go_2(self, id: str, data: GoEvent, event_id: Optional[str] = None) -> Changed:
        """Sends the event `Go`. The same `event_id` is not taken again."""
        return self._send(id, "Go", data, event_id)

    def send_self(self, id: str, data: str, event_id: Optional[str] = None) -> Changed:
        """Sends the event `self`. The same `event_id` is not taken again."""
        return self._send(id, "self", data, event_id)

    def send_x_y(self, id: str, data: list[XYEventItem], event_id: Optional[str] = None) -> Changed:
        """Sends the event `x.y`. The same `event_id` is not taken again."""
        return self._send(id, "x.y", data, event_id)

    def send_import(self, id: str, data: ImportEvent, event_id: Optional[str] = None) -> Changed:
        """Sends the event `import`. The same `event_id` is not taken again."""
        return self._send(id, "import", data, event_id)


def _changed(told: Any) -> Changed:
    return {
        "id": told.get("id") or told["instance"],
        "status": told["status"],
        "state": told["state"],
        "seq": told["seq"],
        "output": told["output"],
    }
