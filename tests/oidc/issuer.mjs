// An issuer on a free port of this machine. Tells its address in a line, and ends with its input.
//
// REDIRECT_URI is where browsers are sent back to; whoever logs in as NAME has the address
// NAME@acme.example.

import { createServer } from 'node:http';
import Provider from 'oidc-provider';

const server = createServer();
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: 'traaviis',
      client_secret: 's3cret+of/the test',
      redirect_uris: [process.env.REDIRECT_URI],
      response_types: ['code'],
      grant_types: ['authorization_code'],
    },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
  // The claims stand in the ID token itself, as with most issuers that companies run.
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ['a key for the test alone'] },
  findAccount: (_, name) => ({
    accountId: name,
    claims: () => ({
      sub: name,
      name: `Name of ${name}`,
      email: `${name}@acme.example`,
      email_verified: !name.startsWith('unconfirmed'),
      // Whoever is called GROUP-NAME is in that group.
      groups: name.includes('-') ? [name.split('-')[0]] : [],
    }),
  }),
});
server.on('request', provider.callback());
console.log(issuer);
process.stdin.on('end', () => process.exit(0)).resume();
