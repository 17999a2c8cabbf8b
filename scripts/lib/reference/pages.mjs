// The reference pages that are generated: each from the code that it documents.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { root } from '../setup.mjs';
import { commentsOf } from './comments.mjs';
import { indexedDecisions } from './decisions.mjs';
import { engineTables } from './engine-tables.mjs';
import { nameTable, schemaTable } from './table.mjs';

const load = (path) => import(join(root, 'dist', path));
const sources = (folder) => readdirSync(join(root, folder)).filter((name) => name.endsWith('.ts')).map((name) => join(root, folder, name));
const note = '<!-- Written by `npm run reference` from the code; edit that, not this page. -->';
const page = (title, ...parts) => `${[`# ${title}`, note, ...parts].join('\n\n')}\n`;
const inputSchema = (schema) => z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });

/** What each payload is, where it goes, and the constant of its schema. */
const payloads = [
  ['status', 'statusSchema', '`status`', 'up, and last will', '1, retained', 'whether the device is online'],
  ['caps', 'capsSchema', '`caps`', 'up', '1, retained', 'what the device is and can do'],
  ['desired', 'desiredSchema', '`desired/{pipeline}`', 'down', '1, retained', 'what a pipeline of the device should run'],
  ['reported', 'reportedSchema', '`reported`', 'up', '1, retained', 'what it runs, and how far an update is'],
  ['telemetry', 'telemetrySchema', '`telemetry`', 'up', '0 live, 1 after an outage', 'one window of measurements'],
  ['event', 'eventSchema', '`event/{type}`', 'up', '1', 'something happened'],
  ['cmd', 'commandSchema', '`cmd/{name}`', 'down', '1', 'a command'],
  ['res', 'responseSchema', '`res/{id}`', 'up', '1', 'the answer to the command of that id'],
  ['ota_get', 'otaGetSchema', '`ota/get`', 'up', '1', 'a request for blocks of a package'],
];

async function mqttPage() {
  const { payloadSchemas, TOPIC_ROOT, MAX_MESSAGE_BYTES } = await load('agent/contracts/index.js');
  const comments = commentsOf([...sources('agent/contracts'), ...sources('runtime/vision/zones')]);
  const topics = payloads.map(([, , topic, direction, qos, what]) => `| ${topic} | ${direction} | ${qos} | ${what} |`);
  return page(
    'MQTT topics and payloads',
    `Every topic is below \`${TOPIC_ROOT}/{fleet}/{device}/\`. Payloads are UTF-8 JSON of at most ${MAX_MESSAGE_BYTES / 1024} KiB;\n`
      + 'unknown fields are ignored, unknown schema versions are refused. Field names carry units. JSON Schemas are in\n`json-schema/`.',
    ['| topic | direction | QoS | content |', '| --- | --- | --- | --- |', ...topics,
      '| `ota/block/{digest8}/{index}` | down | 1 | a block of a package: a binary header of 16 bytes (`block.ts`), then up to 64 KiB |'].join('\n'),
    ...payloads.flatMap(([name, constant, topic]) => [`## ${topic}`, schemaTable(inputSchema(payloadSchemas[name]), comments(constant))]),
  );
}

async function configPage() {
  const { configSchema } = await load('agent/config/schema.js');
  const schema = inputSchema(configSchema);
  delete schema.properties.device_id.default; // this machine's host name
  return page(
    'Configuration of the daemon',
    '`sterna.yaml`, or variables: `STERNA_BROKER__URL` sets `broker.url` (README.md says which win). Unknown keys are errors.',
    schemaTable(schema, commentsOf([join(root, 'agent/config/schema.ts'), ...sources('runtime/vision/zones')])('configSchema')),
  );
}

async function manifestPage() {
  const { manifestSchema } = await load('runtime/package/manifest.js');
  const { faceSettings } = await load('runtime/kinds/face-recognition/settings.js');
  const { classificationSettings } = await load('runtime/kinds/classification/settings.js');
  const shared = [...sources('runtime/stages'), ...sources('runtime/vision')];
  const settings = (folder, constant, schema) => schemaTable(inputSchema(schema), commentsOf([...shared, ...sources(`runtime/kinds/${folder}`)])(constant));
  const manifest = commentsOf([...shared, join(root, 'runtime/package/manifest.ts')]);
  return page(
    'The manifest of a package',
    '`manifest.json`, the first file of a `.sterna` archive. README.md of `runtime` describes the archive.',
    schemaTable(inputSchema(manifestSchema), manifest('manifestFields')),
    '## Settings of `face-recognition`', settings('face-recognition', 'faceSettings', faceSettings),
    '## Settings of `classification`', settings('classification', 'classificationSettings', classificationSettings),
  );
}

async function metricsPage() {
  const { Metrics } = await load('agent/api/metrics.js');
  const { Counters, deviceCounterNames } = await load('agent/ground/counters.js');
  const metrics = new Metrics({
    counters: new Counters(deviceCounterNames), pipelines: () => [], refresh: () => undefined, window: () => null, connected: () => false,
    version: '', outbox: () => ({ bytes: 0, messages: 0, dropped: new Map() }),
  });
  const text = await metrics.text();
  const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]));
  const rows = [...text.matchAll(/^# HELP (\S+) (.+)$/gm)].map(([, name, help]) => `| \`${name}\` | ${types.get(name)} | ${help.replaceAll('|', '\\|')} |`);
  return page('Metrics of the daemon', '`GET /metrics` of the local API, in the Prometheus text format.', ['| metric | type | meaning |', '| --- | --- | --- |', ...rows].join('\n'));
}

async function errorsPage(title, tables) {
  const parts = [];
  for (const [heading, module, constant] of tables) parts.push(`## ${heading}`, nameTable('code', (await load(module))[constant]));
  return page(title, 'Every error that Sterna throws on purpose has a code. Codes are stable; the text of messages is not.', ...parts);
}

/** The records of a folder, numbered, with an index. */
const decisions = (folder) => [`${folder}/DECISIONS.md`, () => indexedDecisions(readFileSync(join(root, folder, 'DECISIONS.md'), 'utf8'), folder[0].toUpperCase())];

/** Path of each page, and what writes it. */
export const pages = {
  ...Object.fromEntries(['agent', 'deploy', 'kernels', 'runtime', 'systemd'].map(decisions)),
  'agent/contracts/REFERENCE.md': mqttPage,
  'agent/config/REFERENCE.md': configPage,
  'agent/api/METRICS.md': metricsPage,
  'runtime/package/REFERENCE.md': manifestPage,
  'kernels/binding/tables.ts': () => engineTables(),
  'kernels/ERRORS.md': () => errorsPage('Error codes of the kernels', [['Native core and binding', 'kernels/binding/errors.js', 'kernelErrorCodes']]),
  'runtime/ERRORS.md': () => errorsPage('Error codes of the runtime', [['Models, sessions, pipelines, packages', 'runtime/errors.js', 'runtimeErrorCodes']]),
  'agent/ERRORS.md': () => errorsPage('Error codes of the daemon', [
    ['Daemon', 'agent/errors.js', 'agentErrorCodes'], ['Messages', 'agent/contracts/errors.js', 'contractErrorCodes'],
  ]),
  'deploy/ERRORS.md': () => errorsPage('Error codes of the command line and the fleet side', [['Command line and fleet', 'deploy/errors.js', 'deployErrorCodes']]),
};
