//! Shapes as TypeScript.

use super::{
    Shapes, literal, origin,
    shape::{Payload, Record, Shape},
};

const CLIENT: &str = r#"/** How an instance stands after a change. */
export interface Changed {
  id: string;
  status: Status;
  state: string;
  seq: number;
  output: Json;
}

/** An instance as it is shown. */
export interface Instance {
  id: string;
  status: Status;
  states: State[];
  seq: number;
  data: Data;
  output: Json;
}

/** What a server refused, as problem+json (RFC 9457). */
export class Refused extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(detail);
    this.status = status;
    this.code = code;
  }
}

/** Starts instances of the workflow, sends them events, and asks them. */
export class Client {
  private readonly base: string;
  private readonly token: string;

  constructor(server: string, token: string, tenant = "current") {
    this.base = `${server}/api/v1/tenants/${encodeURIComponent(tenant)}`;
    this.token = token;
  }

  /** Starts an instance. The same `id`, a UUID of version 7, starts nothing more. */
  async start(input: Input, id?: string): Promise<Changed> {
    const body = { workflow: WORKFLOW, input, id };
    return changed(await this.ask("POST", "/instances", body));
  }

  /** Sends an event. The same `eventId` is not taken again. */
  async send<E extends keyof Events>(
    id: string,
    event: E,
    data: Events[E],
    eventId?: string,
  ): Promise<Changed> {
    const body = { event, data, id: eventId };
    return changed(await this.ask("POST", `/instances/${encodeURIComponent(id)}/events`, body));
  }

  /** Evaluates an expression over the state of an instance. */
  async query(id: string, select: string): Promise<Json> {
    const path = `/instances/${encodeURIComponent(id)}/query`;
    return (await this.ask("POST", path, { select })).value;
  }

  /** Shows an instance. */
  async show(id: string): Promise<Instance> {
    const told = (await this.ask("GET", `/instances/${encodeURIComponent(id)}`)).snapshot;
    const { status, seq, data, output = null, configuration } = told;
    return { id: told.id, status, states: configuration, seq, data, output };
  }

  private async ask(method: string, path: string, body?: unknown): Promise<any> {
    const response = await fetch(this.base + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const told = await response.json();
    if (!response.ok) {
      throw new Refused(response.status, told.code, told.detail);
    }
    return told;
  }
}

function changed(told: any): Changed {
  const { status, state, seq, output } = told;
  return { id: told.id ?? told.instance, status, state, seq, output };
}
"#;

pub(super) fn write(shapes: &Shapes) -> String {
    let mut out = format!("// {}\n\n", origin(shapes));
    out += &format!("export const WORKFLOW = {};\n", literal(&shapes.workflow));
    out += &format!("export const VERSION = {};\n\n", literal(&shapes.version));
    out +=
        "export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };\n";
    out += "export type Status =\n  | \"running\" | \"paused\" | \"incident\" | \"completing\"\n  \
            | \"completed\" | \"failed\" | \"compensated\" | \"cancelled\";\n";
    out += &format!("export type State = {};\n\n", union(&shapes.states));
    for record in &shapes.records {
        out += &interface(record);
    }
    for (name, shape) in [("Input", &shapes.input), ("Data", &shapes.data)] {
        if *shape != Shape::Record(name.into()) {
            out += &format!("export type {name} = {};\n\n", of(shape));
        }
    }
    out +=
        "/** Events that a caller may send, with their payloads. */\nexport interface Events {\n";
    for (name, payload) in &shapes.events {
        let shape = match payload {
            Payload::Open => "Json | undefined".into(),
            Payload::Shape(shape) => of(shape),
        };
        out += &format!("  {}: {shape};\n", key(name));
    }
    out += "}\n\n";
    out + CLIENT
}

fn interface(record: &Record) -> String {
    let mut out = format!("/** {} */\nexport interface {} {{\n", record.about, record.name);
    for field in &record.fields {
        if !field.about.is_empty() {
            out += &format!("  /** {} */\n", field.about);
        }
        let mark = if field.is_optional { "?" } else { "" };
        out += &format!("  {}{mark}: {};\n", key(&field.key), of(&field.shape));
    }
    out + "}\n\n"
}

fn of(shape: &Shape) -> String {
    match shape {
        Shape::Any => "Json".into(),
        Shape::Bool => "boolean".into(),
        Shape::Int | Shape::Number => "number".into(),
        Shape::Text => "string".into(),
        Shape::Words(words) => union(words),
        Shape::List(of_what) => format!("Array<{}>", of(of_what)),
        Shape::Map(of_what) => format!("Record<string, {}>", of(of_what)),
        Shape::Record(name) => name.clone(),
        Shape::OrNull(of_what) => format!("{} | null", of(of_what)),
    }
}

fn union(words: &[String]) -> String {
    match words {
        [] => "never".into(),
        words => words.iter().map(|it| literal(it)).collect::<Vec<_>>().join(" | "),
    }
}

fn key(name: &str) -> String {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|it| it.is_ascii_alphabetic() || it == '_');
    match begins && chars.all(|it| it.is_ascii_alphanumeric() || it == '_') {
        true => name.into(),
        false => literal(name),
    }
}
