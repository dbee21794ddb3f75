// Chromium with a virtual authenticator: adds a passkey to an account, logs in with it, and prints
// what the server answers at each step.
//
// node browser.mjs CHROMIUM BASE EMAIL PASSWORD PROFILE

import { spawn } from 'node:child_process';

const [chromium, base, email, password, profile] = process.argv.slice(2);

const flags = ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`];
const browser = spawn(chromium, [...flags, '--remote-debugging-pipe', 'about:blank'], {
  stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
});
const [out, back] = [browser.stdio[3], browser.stdio[4]];
const waiting = new Map();
let text = '';
back.setEncoding('utf8').on('data', (chunk) => {
  const messages = (text + chunk).split('\0');
  text = messages.pop();
  for (const message of messages.map((it) => JSON.parse(it))) {
    const done = waiting.get(message.id);
    waiting.delete(message.id);
    if (message.error) done?.reject(new Error(JSON.stringify(message.error)));
    else done?.resolve(message.result);
  }
});

let last = 0;
function tell(method, params = {}, sessionId = undefined) {
  last += 1;
  const id = last;
  out.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

async function api(method, path, body, token) {
  const headers = { 'content-type': 'application/json' };
  if (token) headers.authorization = `Bearer ${token}`;
  const answer = await fetch(`${base}/api/v1${path}`, {
    method,
    headers,
    body: body && JSON.stringify(body),
  });
  const read = await answer.text();
  return { status: answer.status, body: read ? JSON.parse(read) : null };
}

try {
  const { targetId } = await tell('Target.createTarget', { url: `${base}/health` });
  const { sessionId } = await tell('Target.attachToTarget', { targetId, flatten: true });
  await tell('WebAuthn.enable', {}, sessionId);
  const options = {
    protocol: 'ctap2',
    transport: 'internal',
    hasResidentKey: true,
    hasUserVerification: true,
    isUserVerified: true,
    automaticPresenceSimulation: true,
  };
  await tell('WebAuthn.addVirtualAuthenticator', { options }, sessionId);
  const evaluate = async (expression) => {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await tell('Runtime.evaluate', params, sessionId);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
    return result.value;
  };
  // The page may still be on its way, and then there is nowhere to ask.
  while ((await evaluate('location.origin').catch(() => '')) !== base) {
    await new Promise((later) => setTimeout(later, 50));
  }

  const registered = await api('POST', '/auth/register', { email, password });
  const token = registered.body.access_token;
  const begun = await api('POST', '/me/mfa', { kind: 'webauthn', name: 'laptop' }, token);
  const made = await evaluate(`(async () => {
    const publicKey =
      PublicKeyCredential.parseCreationOptionsFromJSON(${JSON.stringify(begun.body.public_key)});
    return (await navigator.credentials.create({ publicKey })).toJSON();
  })()`);
  const path = `/me/mfa/${begun.body.id}/confirm`;
  const confirmed = await api('POST', path, { credential: made }, token);
  const alone = await api('POST', '/auth/login', { email, password });
  const asked = await api('POST', '/auth/webauthn/start');
  const shown = await evaluate(`(async () => {
    const publicKey =
      PublicKeyCredential.parseRequestOptionsFromJSON(${JSON.stringify(asked.body.public_key)});
    return (await navigator.credentials.get({ publicKey })).toJSON();
  })()`);
  const finished = await api('POST', '/auth/webauthn/finish', { credential: shown });
  const again = await api('POST', '/auth/webauthn/finish', { credential: shown });
  console.log(JSON.stringify({ begun, confirmed, alone, finished, again }));
} finally {
  browser.kill();
}
process.exit(0);
