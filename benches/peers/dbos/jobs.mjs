// The jobs of `traaviis bench server`, written for DBOS with its TypeScript SDK and answered over
// HTTP under the same paths as those of Restate: `POST /pure/ID/run`, `/steps/ID/run` and
// `/thing/ID/event`.
//
//   node jobs.mjs DATABASE_URL PORT CONNECTIONS
//
// Things that wait begin before it listens, eight for each of so many connections, as ours do. What
// is not stated here is as the SDK has it, such as being told of messages by LISTEN/NOTIFY.

import { createServer } from "node:http";

import { DBOS } from "@dbos-inc/dbos-sdk";

/** Steps of a run. */
const STEPS = 3;
/** Things that a connection sends its events to, in turn: `INSTANCES_EACH` of the benchmark. */
const THINGS_EACH = 8;
/** Connections to the database: with the 10 of the SDK it does a sixth less. */
const POOL = 40;
/** Seconds that a thing waits for an event, longer than any measurement. */
const WAIT_SECONDS = 3600;
/** Where a thing finds its events. */
const TOPIC = "event";

/** A run whose states are set one after the other, with nothing outside: three pure transitions. */
const pure = DBOS.registerWorkflow(
  async () => {
    let state = 0;
    for (let step = 0; step < STEPS; step++) state += 1;
    return state;
  },
  { name: "pure" },
);

/** A run of three steps, each result durable before the next begins. */
const steps = DBOS.registerWorkflow(
  async () => {
    let done = 0;
    for (let step = 0; step < STEPS; step++) {
      done = await DBOS.runStep(async () => done + 1, { name: `step${step}` });
    }
    return done;
  },
  { name: "steps" },
);

/** Who waits for an event to be taken, by its number. */
const asked = new Map();

/** A thing with a state that waits for events. What it has received is durable. */
const thing = DBOS.registerWorkflow(
  async () => {
    for (let state = 0; ; ) {
      const event = await DBOS.recv(TOPIC, WAIT_SECONDS);
      if (event === null) return state;
      state += 1;
      asked.get(event.number)?.(state);
      asked.delete(event.number);
    }
  },
  { name: "thing" },
);

let events = 0;

/** Sends an event and waits until the thing has taken it, as the answer of the others means. */
async function sendEvent(id) {
  events += 1;
  const number = events;
  const taken = new Promise((resolve) => asked.set(number, resolve));
  await DBOS.send(`thing-${id}`, { number }, TOPIC);
  return taken;
}

async function run(workflow, id) {
  const handle = await DBOS.startWorkflow(workflow, { workflowID: id })();
  return handle.getResult();
}

async function answer(path) {
  const [, job, id, what] = path.split("/");
  if (job === "pure" && what === "run") return run(pure, id);
  if (job === "steps" && what === "run") return run(steps, id);
  if (job === "thing" && what === "event") return sendEvent(id);
  return undefined;
}

const server = createServer(async (request, response) => {
  // Bodies say nothing that a job needs, but are read as any service would.
  for await (const _ of request);
  let [status, value] = [200, undefined];
  try {
    value = await answer(request.url);
    if (value === undefined) status = 404;
  } catch (error) {
    [status, value] = [500, String(error)];
  }
  const body = JSON.stringify(value ?? "no such job");
  const length = Buffer.byteLength(body);
  response.writeHead(status, { "content-type": "application/json", "content-length": length });
  response.end(body);
});

const [url, port, connections] = process.argv.slice(2);
DBOS.setConfig({
  name: "jobs",
  systemDatabaseUrl: url,
  systemDatabasePoolSize: POOL,
  runAdminServer: false,
  logLevel: "error",
});
await DBOS.launch();
for (let at = 0; at < Number(connections); at++) {
  const ids = Array.from({ length: THINGS_EACH }, (_, it) => `thing-${at}-${it}`);
  await Promise.all(ids.map((workflowID) => DBOS.startWorkflow(thing, { workflowID })()));
}
server.keepAliveTimeout = 0;
server.listen(Number(port), "127.0.0.1", () => console.log("listening"));
