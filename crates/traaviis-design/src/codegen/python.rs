//! Shapes as Python.

use super::{
    Shapes, in_quotes, origin,
    shape::{Payload, Record, Shape, distinct, snake},
};

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

const HEAD: &str = r#"from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Literal, NotRequired, Optional, TypedDict

"#;

const STANDS: &str = r#"Status = Literal[
    "running", "paused", "incident", "completing",
    "completed", "failed", "compensated", "cancelled",
]

"#;

const CLIENT: &str = r#"class Changed(TypedDict):
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
"#;

const CHANGED: &str = r#"

def _changed(told: Any) -> Changed:
    return {
        "id": told.get("id") or told["instance"],
        "status": told["status"],
        "state": told["state"],
        "seq": told["seq"],
        "output": told["output"],
    }
"#;

pub(super) fn write(shapes: &Shapes) -> String {
    let mut out = format!("# {}\n{HEAD}", origin(shapes));
    out += &format!("WORKFLOW = {}\n", literal(&shapes.workflow));
    out += &format!("VERSION = {}\n\n{STANDS}", literal(&shapes.version));
    out += &format!("State = {}\n\n\n", words(&shapes.states));
    for record in &shapes.records {
        out += &declared(record);
    }
    for (name, shape) in [("Input", &shapes.input), ("Data", &shapes.data)] {
        if *shape != Shape::Record(name.into()) {
            out += &format!("{name} = {}\n\n\n", of(shape));
        }
    }
    out += CLIENT;
    let names = shapes.events.iter().map(|(name, _)| format!("send_{}", snake(name)));
    let names = distinct(names, "_");
    for ((event, payload), name) in shapes.events.iter().zip(names) {
        let data = match payload {
            Payload::Open => "data: Any = None".into(),
            Payload::Shape(shape) => format!("data: {}", of(shape)),
        };
        out += &format!(
            "\n    def {name}(self, id: str, {data}, event_id: Optional[str] = None) -> Changed:\n        \
             \"\"\"Sends the event `{event}`. The same `event_id` is not taken again.\"\"\"\n        \
             return self._send(id, {}, data, event_id)\n",
            literal(event)
        );
    }
    out + CHANGED
}

fn declared(record: &Record) -> String {
    let field = |shape: &Shape, is_optional: bool| match is_optional {
        true => format!("NotRequired[{}]", of(shape)),
        false => of(shape),
    };
    let (name, about) = (&record.name, &record.about);
    if record.fields.iter().any(|it| !is_name(&it.key)) {
        let mut out = format!("# {about}\n{name} = TypedDict({}, {{\n", literal(name));
        for it in &record.fields {
            let field = field(&it.shape, it.is_optional);
            out += &format!("    {}: {},\n", literal(&it.key), literal(&field));
        }
        return out + "})\n\n\n";
    }
    let mut out = format!("class {name}(TypedDict):\n    \"\"\"{about}\"\"\"\n\n");
    for it in &record.fields {
        if !it.about.is_empty() {
            out += &format!("    # {}\n", it.about);
        }
        out += &format!("    {}: {}\n", it.key, field(&it.shape, it.is_optional));
    }
    if record.fields.is_empty() {
        out += "    pass\n";
    }
    out + "\n\n"
}

fn of(shape: &Shape) -> String {
    match shape {
        Shape::Any => "Any".into(),
        Shape::Bool => "bool".into(),
        Shape::Int => "int".into(),
        Shape::Number => "float".into(),
        Shape::Text => "str".into(),
        Shape::Words(all) => words(all),
        Shape::List(of_what) => format!("list[{}]", of(of_what)),
        Shape::Map(of_what) => format!("dict[str, {}]", of(of_what)),
        Shape::Record(name) => name.clone(),
        Shape::OrNull(of_what) => format!("Optional[{}]", of(of_what)),
    }
}

fn words(words: &[String]) -> String {
    match words {
        [] => "str".into(),
        words => {
            let words: Vec<String> = words.iter().map(|it| literal(it)).collect();
            format!("Literal[{}]", words.join(", "))
        }
    }
}

/// Returns a text as a literal in quotes.
fn literal(text: &str) -> String {
    in_quotes(text, |it| format!("\\U{it:08x}"))
}

fn is_name(key: &str) -> bool {
    let mut chars = key.chars();
    // Two lines at the beginning of a name are changed inside a class.
    let begins = chars.next().is_some_and(|it| it.is_ascii_alphabetic());
    begins && chars.all(|it| it.is_ascii_alphanumeric() || it == '_') && !KEYWORDS.contains(&key)
}
