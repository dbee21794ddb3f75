// Made by `traaviis codegen` of Odd 1.2.3; make it again instead of changing it.

export const WORKFLOW = "Odd";
export const VERSION = "1.2.3";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Status =
  | "running" | "paused" | "incident" | "completing"
  | "completed" | "failed" | "compensated" | "cancelled";
export type State = "a" | "a.b" | "end";

/** `nothing` of `Input`. */
export interface InputNothing {
}

/** `friend` of `InputPeopleItem`. */
export interface InputPeopleItemFriend {
  name?: string;
}

/** `people` of `Input`. */
export interface InputPeopleItem {
  friend?: InputPeopleItemFriend;
  name: string;
}

/** What an instance starts with. */
export interface Input {
  ""?: string;
  "1x"?: Json;
  _hidden?: string;
  "a-b": number;
  a_b?: boolean | null;
  class?: number;
  kind: "small" | "lar\"ge" | "x\\y";
  "line\nbreak"?: string;
  mixed?: Json;
  nothing?: InputNothing;
  people: Array<InputPeopleItem>;
  "quo\"te\\"?: Json;
  scores?: Record<string, number>;
  some?: Array<Json>;
  /** A 'word' that languages keep * / for themselves. */
  type: string;
}

/** Payload of the event `Go`. */
export interface GoEvent {
  of?: string | null;
}

/** Payload of the event `x.y`. */
export interface XYEventItem {
  n?: number;
}

/** Payload of the event `import`. */
export interface ImportEvent {
  n: number;
}

export type Data = Json;

/** Events that a caller may send, with their payloads. */
export interface Events {
  go: Json | undefined;
  Go: GoEvent;
  self: string;
  "x.y": Array<XYEventItem>;
  import: ImportEvent;
}

/** How an instance stands after a change. */
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
