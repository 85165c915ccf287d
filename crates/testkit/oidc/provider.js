// A real OpenID provider for tests: `oidc-provider` with its own sign-in and consent pages. Any login
// is accepted and is the person's e-mail address; those that start with "unverified" are not verified.
//
//   node provider.js <redirect URI>     says "ready <issuer>"; POST /rotate replaces its keys

import { generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import Provider from "oidc-provider";

let provider;

function key() {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return { ...privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" };
}

function account(_, id) {
  const profile = { given_name: "Alice", family_name: "Example" };
  const email_verified = !id.startsWith("unverified");
  return { accountId: id, claims: () => ({ sub: id, email: id, email_verified, ...profile }) };
}

function start(issuer) {
  provider = new Provider(issuer, {
    clients: [
      {
        client_id: "gantry",
        client_secret: "a secret, with + & % in it",
        redirect_uris: [process.argv[2]],
      },
    ],
    claims: { email: ["email", "email_verified"], profile: ["given_name", "family_name"] },
    cookies: { keys: [randomUUID()] },
    findAccount: account,
    jwks: { keys: [key()] },
    pkce: { required: () => true },
  });
}

const server = createServer((request, response) => {
  if (request.url === "/rotate") {
    start(issuer);
    response.end();
  } else {
    provider.callback()(request, response);
  }
});
await new Promise((bound) => server.listen(0, "127.0.0.1", bound));
const issuer = `http://127.0.0.1:${server.address().port}`;
start(issuer);
console.log(`ready ${issuer}`);
