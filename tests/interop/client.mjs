// Runs the steps of a JSON file with the official TypeScript SDK and prints what came back as one JSON document.
// usage: node client.mjs v1|v2 SPEC.json
//
// v1 is the package @modelcontextprotocol/sdk, v2 is @modelcontextprotocol/client. Neither is changed in any way.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const [generation, file] = process.argv.slice(2);
const spec = JSON.parse(readFileSync(file, 'utf8'));
const require = createRequire(join(process.env.INTEROP_NODE, 'package.json'));
const load = (name) => import(pathToFileURL(require.resolve(name)).href);

let Client, StdioClientTransport, StreamableHTTPClientTransport, ClientCredentialsProvider;
if (generation === 'v1') {
  ({ Client } = await load('@modelcontextprotocol/sdk/client/index.js'));
  ({ StdioClientTransport } = await load('@modelcontextprotocol/sdk/client/stdio.js'));
  ({ StreamableHTTPClientTransport } = await load('@modelcontextprotocol/sdk/client/streamableHttp.js'));
  ({ ClientCredentialsProvider } = await load('@modelcontextprotocol/sdk/client/auth-extensions.js'));
} else {
  ({ Client, StreamableHTTPClientTransport, ClientCredentialsProvider } = await load('@modelcontextprotocol/client'));
  ({ StdioClientTransport } = await load('@modelcontextprotocol/client/stdio'));
}

// The client gets credentials for its issuer; where that is, and what for, the server has to tell. The scope is
// configured, because this provider asks for no other.
const authProvider = spec.oauth && new ClientCredentialsProvider({ ...spec.oauth, expectedIssuer: spec.oauth.issuer });
const transport = spec.url
  ? new StreamableHTTPClientTransport(new URL(spec.url), { requestInit: { headers: spec.headers ?? {} }, authProvider })
  : new StdioClientTransport({ command: spec.command, args: spec.args, env: { ...process.env, ...spec.env }, stderr: 'inherit' });
// The SDK lists by itself whenever it is told that the tools changed, and hands over what it got.
const lists = [];
const onChanged = (error, tools) => lists.push(error ? String(error) : tools.map((tool) => tool.name));
const watching = spec.steps.some((step) => step.do === 'watch');
const options = watching ? { listChanged: { tools: { onChanged } } } : undefined;
const client = new Client({ name: `interop-ts-${generation}`, version: '1.0.0' }, options);

const call = (params, options) =>
  generation === 'v1' ? client.callTool(params, undefined, options) : client.callTool(params, options);

const actions = {
  tools: () => client.listTools(),
  prompts: () => client.listPrompts(),
  resources: () => client.listResources(),
  templates: () => client.listResourceTemplates(),
  prompt: (s) => client.getPrompt({ name: s.name, arguments: s.arguments }),
  read: (s) => client.readResource({ uri: s.uri }),
  ping: () => client.ping(),
  call: (s) => call({ name: s.name, arguments: s.arguments }),
  big: async (s) => {
    const message = 'x'.repeat(s.bytes);
    const result = await call({ name: s.name, arguments: { message } });
    const text = result.content[0].text;
    return { length: text.length, whole: text.endsWith(message) };
  },
  progress: async (s) => {
    const events = [];
    const onprogress = ({ progress, total }) => events.push({ progress, total });
    const result = await call({ name: s.name, arguments: s.arguments }, { onprogress });
    return { events, result };
  },
  // Lists once, says so by a file, calls, and then only looks at what the SDK listed because it was told to.
  watch: async (s) => {
    const before = (await client.listTools()).tools.map((tool) => tool.name);
    lists.length = 0;
    writeFileSync(s.marker, '');
    for (let i = 0; i < (s.calls ?? 0); i++) await call({ name: s.name, arguments: s.arguments });
    const end = Date.now() + 30_000;
    const holds = (names) => Array.isArray(names) && names.includes(s.tool) === s.there;
    while (!lists.some(holds) && Date.now() < end) await new Promise((resume) => setTimeout(resume, 20));
    return { before: before.includes(s.tool), told: lists.some(holds), lists: lists.length };
  },
  cancel: async (s) => {
    const stop = new AbortController();
    const onprogress = () => stop.abort('no longer wanted');
    try {
      await call({ name: s.name, arguments: s.arguments }, { onprogress, signal: stop.signal });
      return 'it was not cancelled';
    } catch (e) {
      return stop.signal.aborted ? 'cancelled' : `failed before: ${e}`;
    }
  },
};

const out = { steps: [] };
await client.connect(transport);
out.init = {
  server: client.getServerVersion(),
  capabilities: client.getServerCapabilities(),
  instructions: client.getInstructions(),
  protocol: transport.protocolVersion ?? null,
};
for (const step of spec.steps) {
  try {
    out.steps.push({ value: await actions[step.do](step) });
  } catch (e) {
    out.steps.push({ error: { code: e.code, message: e.message, data: e.data } });
  }
}
if (spec.url && transport.terminateSession) await transport.terminateSession().catch(() => {});
await client.close();
process.stdout.write(JSON.stringify(out) + '\n');
process.exit(0);
