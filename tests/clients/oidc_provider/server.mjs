// A certified OpenID provider on loopback, with people and a client that a test gives it.
//
// Reads a line of JSON each time something changes: {client, accounts}, and answers each with a line. Whoever signs in says which
// account is theirs; nothing else about them is checked.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";

// Lines of standard output are answers; what the provider has to say is something else.
console.log = console.info = console.error;
const say = (line) => process.stdout.write(`${line}\n`);

let accounts = {};
let provider = null;
let answer = null;

const server = createServer((request, response) => {
  const [, uid] = /^\/interaction\/([\w-]+)$/.exec(request.url) ?? [];
  if (request.url === "/favicon.ico") response.writeHead(204).end();
  else if (uid && request.method === "POST") finish(request, response);
  else if (uid) ask(response);
  else answer(request, response);
});

function ask(response) {
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(`<!doctype html><html lang="en"><title>Provider</title><h1>Who are you?</h1>
<form method="post"><label>Account <input name="account"></label><button name="act" value="in">Continue</button>
<button name="act" value="no">Cancel</button></form>`);
}

async function finish(request, response) {
  let body = "";
  for await (const piece of request) body += piece;
  const form = new URLSearchParams(body);
  const result = form.get("act") === "no" ? { error: "access_denied" } : { login: { accountId: form.get("account") } };
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function grant(ctx) {
  const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
  grant.addOIDCScope("openid email");
  await grant.save();
  return grant;
}

async function open(client) {
  const { privateKey } = await generateKeyPair("RS256", { extractable: true });
  provider = new Provider(`http://127.0.0.1:${server.address().port}`, {
    clients: [client],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), use: "sig", alg: "RS256", kid: "a" }] },
    cookies: { keys: ["for a test"] },
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    features: { devInteractions: { enabled: false } },
    findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    loadExistingGrant: grant,
    pkce: { required: () => true },
  });
  answer = provider.callback();
}

server.listen(0, "127.0.0.1", () => say(server.address().port));

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line);
  if (told.accounts) accounts = told.accounts;
  if (told.client) await open(told.client);
  say("done");
}
process.exit();
