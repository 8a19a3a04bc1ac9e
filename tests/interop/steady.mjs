// Calls `echo` at a steady rate, in one session, with the official TypeScript SDK, until its stdin ends. Prints one line
// for each call as it ends, and first one with the session's id: {"session"}, {"n", "ok", "code"?, "message"?, "reason"?}.
// usage: node steady.mjs v1|v2 SPEC.json     (url, headers, perSecond)
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [generation, file] = process.argv.slice(2);
const spec = JSON.parse(readFileSync(file, 'utf8'));
const require = createRequire(join(process.env.INTEROP_NODE, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n');

let Client, StreamableHTTPClientTransport;
if (generation === 'v1') {
  ({ Client } = await load('@modelcontextprotocol/sdk/client/index.js'));
  ({ StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js'));
} else {
  ({ Client, StreamableHTTPClientTransport } = await load('@modelcontextprotocol/client'));
}
const transport = new StreamableHTTPClientTransport(new URL(spec.url), { requestInit: { headers: spec.headers ?? {} } });
const client = new Client({ name: `steady-ts-${generation}`, version: '1.0.0' });
await client.connect(transport);
say({ session: transport.sessionId });

const underWay = new Set();
let n = 0;
const one = async (number) => {
  const message = `steady ${number}`;
  try {
    const result = await client.callTool({ name: 'echo', arguments: { message } });
    const ok = result.isError !== true && result.content[0].text.endsWith(message);
    say(ok ? { n: number, ok } : { n: number, ok, message: JSON.stringify(result) });
  } catch (e) {
    say({ n: number, ok: false, code: e.code, message: String(e.message), reason: e.data?.reason });
  }
};
const timer = setInterval(() => {
  const call = one(n++).finally(() => underWay.delete(call));
  underWay.add(call);
}, 1000 / spec.perSecond);

process.stdin.resume();
process.stdin.on('end', async () => {
  clearInterval(timer);
  await Promise.all(underWay);
  say({ session: transport.sessionId });
  await transport.terminateSession().catch(() => {});
  process.exit(0);
});
