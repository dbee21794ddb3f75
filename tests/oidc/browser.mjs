// A browser of one person: follows redirects with cookies, fills in the forms of the issuer, and
// prints what it ends at.
//
// node browser.mjs ADDRESS NAME

const [start, name] = process.argv.slice(2);
const jar = new Map();

async function visit(address, form) {
  const { origin } = new URL(address);
  const cookies = [...(jar.get(origin) ?? new Map())].map(([key, value]) => `${key}=${value}`);
  const answer = await fetch(address, {
    method: form ? 'POST' : 'GET',
    body: form && new URLSearchParams(form),
    headers: cookies.length ? { cookie: cookies.join('; ') } : {},
    redirect: 'manual',
  });
  for (const line of answer.headers.getSetCookie()) {
    const [pair] = line.split(';');
    const at = pair.indexOf('=');
    if (!jar.has(origin)) jar.set(origin, new Map());
    jar.get(origin).set(pair.slice(0, at), pair.slice(at + 1));
  }
  return answer;
}

let address = start;
let form;
for (let steps = 0; steps < 20; steps += 1) {
  const answer = await visit(address, form);
  form = undefined;
  const location = answer.headers.get('location');
  if (location) {
    address = new URL(location, address).href;
    continue;
  }
  const body = await answer.text();
  const prompt = /name="prompt" value="(\w+)"/.exec(body)?.[1];
  if (!prompt) {
    const cookies = jar.get(new URL(start).origin) ?? new Map();
    const cookie = [...cookies].map(([key, value]) => `${key}=${value}`).join('; ');
    console.log(JSON.stringify({ status: answer.status, address, body, cookie }));
    process.exit(0);
  }
  address = new URL(/action="([^"]+)"/.exec(body)[1], address).href;
  form = prompt === 'login' ? { prompt, login: name, password: 'any' } : { prompt };
}
console.error('it never ends');
process.exit(1);
