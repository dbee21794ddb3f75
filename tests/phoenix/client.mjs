// Two people on the channels of a tenant, through the client that the makers of Phoenix keep:
// joins, pushes, what is told to all, presence, and a socket that is closed.
import { Presence, Socket } from "phoenix";
import WebSocket from "ws";

const [address, tenant, ada, bob] = process.argv.slice(2);
const told = [];
const tell = (line) => told.push(line);
const late = setTimeout(() => fail("nothing came for 30 s"), 30_000);

function fail(why) {
  console.error(why, told);
  process.exit(1);
}

// The browser's way is a subprotocol, the older one a parameter.
const open = (options) => {
  const socket = new Socket(`ws://${address}/socket`, { transport: WebSocket, ...options });
  socket.connect();
  return socket;
};

const answer = (push) =>
  new Promise((resolve) => {
    push.receive("ok", (reply) => resolve({ ok: reply }));
    push.receive("error", (reply) => resolve({ error: reply }));
    push.receive("timeout", () => fail("timeout"));
  });

const once = (channel, event, is = () => true) =>
  new Promise((resolve) => {
    const ref = channel.on(event, (payload) => {
      if (!is(payload)) return;
      channel.off(event, ref);
      resolve(payload);
    });
  });

const first = open({ authToken: ada });
const here = first.channel(`tenant:${tenant}`, {});
const present = new Presence(here);
let arrived;
const bobArrives = new Promise((resolve) => (arrived = resolve));
present.onSync(() => {
  if (present.list().length === 2) arrived();
});
const joined = (await answer(here.join())).ok;
tell(`joined ${joined.tenant_id === tenant}, ${joined.active_users} there`);

const machines = first.channel(`fsm:${tenant}`, {});
await answer(machines.join());
const created = once(machines, "fsm_created");
const made = await answer(machines.push("create_fsm", { module: "Door", config: {} }));
const fsm_id = made.ok.fsm_id;
tell(`created ${(await created).fsm_id === fsm_id}`);
// The start is a change too, of which is told a moment after the answer.
const changed = once(machines, "fsm_state_changed", ({ event }) => event === "open");
await answer(machines.push("send_event", { fsm_id, event: "open", event_data: {} }));
const change = await changed;
tell(`changed ${change.from} -> ${change.to}`);
const refused = await answer(machines.push("send_event", { fsm_id, event: "fly" }));
tell(`refused ${refused.error.code}`);

const second = open({ params: { token: bob } });
const there = second.channel(`tenant:${tenant}`, {});
await answer(there.join());
await bobArrives;
tell("two are present");
const left = new Promise((resolve) => present.onLeave((_, current) => resolve(current)));
second.disconnect();
tell(`one is left ${(await left).metas.length === 0}`);

const one = first.channel(`instance:${fsm_id}`, { after_seq: 0 });
const records = [];
const all = new Promise((resolve) => {
  one.on("record", (record) => {
    records.push(record.seq);
    if (record.seq === change.seq) resolve();
  });
});
await answer(one.join());
await all;
tell(`replayed from ${records[0]} to the change`);
const bye = await answer(one.leave());
tell(`left ${"ok" in bye}`);

const gone = new Promise((resolve) => first.onClose((event) => resolve(event.code)));
const again = once(machines, "fsm_destroyed");
await answer(machines.push("destroy_fsm", { fsm_id }));
tell(`destroyed ${(await again).fsm_id === fsm_id}`);
console.log("ready to be ended");
process.stdin.once("data", async () => {
  tell(`closed ${await gone}`);
  first.disconnect();
  clearTimeout(late);
  console.log(JSON.stringify(told));
  process.exit(0);
});
