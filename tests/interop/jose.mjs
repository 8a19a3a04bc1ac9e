// Verifies tokens as any third party would: npm's `jose`, against the live JWKS endpoint. Prints one JSON document.
// usage: node jose.mjs SPEC.json     (jwks, issuer, typ, tokens)
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const require = createRequire(join(process.env.INTEROP_NODE, 'package.json'));
const jose = await import(pathToFileURL(require.resolve('jose')).href);
const { jwks, issuer, typ, tokens } = JSON.parse(readFileSync(process.argv[2], 'utf8'));

const keys = jose.createRemoteJWKSet(new URL(jwks));
const out = [];
for (const token of tokens) {
  try {
    const { protectedHeader, payload } = await jose.jwtVerify(token, keys, { issuer, typ });
    out.push({ kid: protectedHeader.kid, alg: protectedHeader.alg, sub: payload.sub });
  } catch (e) {
    out.push({ error: `${e.code}: ${e.message}` });
  }
}
process.stdout.write(JSON.stringify(out) + '\n');
