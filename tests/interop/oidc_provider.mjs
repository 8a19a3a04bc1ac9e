// A local issuer by npm's oidc-provider: discovery, keys, client_credentials, and JWT access tokens for the resource
// that a client names (RFC 8707). Prints {"issuer"} first. Each line of its stdin is a command, answered by one line:
//   {"rotate": "kid"}            signs with a new key of that id from then on, the only one it publishes
//   {"groups": ["name"]}         what the tokens of then on list as their groups
// usage: node oidc_provider.mjs SPEC.json     (clients: [{client_id, client_secret}], scope)
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const spec = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const require = createRequire(join(process.env.INTEROP_NODE, 'package.json'));
const { Provider } = await import(pathToFileURL(require.resolve('oidc-provider')).href);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

const server = createServer();
await new Promise((bound) => server.listen(0, '127.0.0.1', bound));
const issuer = `http://127.0.0.1:${server.address().port}`;
let groups = ['staff'];
let answer;
server.on('request', (request, response) => answer(request, response));

function signWith(kid) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const provider = new Provider(issuer, {
    jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'ES256' }] },
    clients: spec.clients.map((client) => ({
      ...client,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      token_endpoint_auth_method: 'client_secret_basic',
    })),
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    scopes: spec.scope.split(' '),
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          scope: spec.scope,
          audience: resource,
          accessTokenFormat: 'jwt',
          accessTokenTTL: 300,
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
    extraTokenClaims: () => ({ groups }),
  });
  answer = provider.callback();
}

signWith('first');
say({ issuer });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if (command.rotate) signWith(command.rotate);
  if (command.groups) groups = command.groups;
  say({ done: command });
}
process.exit(0);
