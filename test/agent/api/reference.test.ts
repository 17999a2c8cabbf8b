/** agent/api/REFERENCE.md says what the code does: routes, statuses of error codes, messages of the stream. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createApp } from '../../../agent/api/app.js';
import type { ApiParts } from '../../../agent/api/parts.js';
import { eventSchema, telemetrySchema, type Event, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { agentErrorCodes, SternaError } from '../../../agent/errors.js';
import type { LiveSample } from '../../../agent/ground/frames.js';
import { runtimeErrorCodes } from '../../../runtime/errors.js';
import { FakeGallery, FakeRuntime } from '../support/fake-runtime.js';

const text = readFileSync(join(import.meta.dirname, '../../../agent/api/REFERENCE.md'), 'utf8');
const token = 'a-token-of-this-test';

function app(parts: Partial<ApiParts> = {}): ReturnType<typeof createApp> {
  const none = (): (() => void) => () => undefined;
  return createApp({
    guard: () => ({ host: '127.0.0.1', port: 80, allowedOrigins: [] }), token, status: () => ({}), health: () => ({ ok: true, reasons: [], warnings: [] }), latestTelemetry: () => null,
    metrics: () => Promise.resolve(''), gallery: () => new FakeGallery(), recordings: () => { throw new Error('not here'); }, recordingEnabled: () => false, personName: () => '', runtime: new FakeRuntime(), enrol: () => Promise.resolve({}), latestFrame: () => null, enrolmentFrame: () => null,
    eventsSince: () => [], listenEvents: none, listenTelemetry: none, listenFrames: none, ...parts,
  });
}

const ask = (from: ReturnType<typeof createApp>, path: string): Promise<Response> => Promise.resolve(from.request(`http://127.0.0.1${path}`, { headers: { host: '127.0.0.1', authorization: `Bearer ${token}` } }));

describe('the reference page', () => {
  it('has every route of the app, and no other', () => {
    const routes = app().routes.filter(({ method }) => method !== 'ALL').map(({ method, path }) => `${method} ${path.replace(/:(\w+)/g, '{$1}')}`);
    const [, endpoints = ''] = /^## Endpoints$([\s\S]*?)^## /m.exec(text) ?? [];
    const documented = [...endpoints.matchAll(/^### `([A-Z]+ \S+)`$/gm)].map(([, route]) => route);
    expect(routes.length).toBeGreaterThan(7);
    expect(documented.toSorted()).toEqual([...new Set(routes)].toSorted());
  });

  it('has every error code that has a status of its own, with that status', async () => {
    const statuses: Record<string, number> = {};
    for (const code of [...Object.keys(agentErrorCodes), ...Object.keys(runtimeErrorCodes)]) {
      const { status } = await ask(app({ status: () => { throw new SternaError(code, 'as this test wants it'); } }), '/api/status');
      if (status !== 500) statuses[code] = status;
    }
    expect(Object.keys(statuses).length).toBeGreaterThan(10);
    expect(Object.fromEntries([...text.matchAll(/^\| `(E_\w+)` \| (\d{3}) \|/gm)].map(([, code = '', status]) => [code, Number(status)]))).toEqual(statuses);
  });

  it('has an example of every message of the stream, of the form that the daemon sends', async () => {
    const examples = new Map([...text.matchAll(/^```text\nevent: (\w+)\n(?:id: (\S+)\n)?((?:data: .+\n)+)```$/gm)].map(([, name = '', id, lines = '']): [string, { id: string | undefined; data: unknown }] => [
      name, { id, data: JSON.parse(lines.replace(/^data: /gm, '')) },
    ]));
    const of = (name: string): { id: string; data: unknown } => ({ id: examples.get(name)?.id ?? '', data: examples.get(name)?.data });
    const { replayed, ...past } = of('replay').data as Event & { replayed: boolean };
    expect(replayed).toBe(true);
    const now = of('event').data as Event;
    const window = of('telemetry').data as TelemetryWindow;
    for (const event of [now, past]) expect(eventSchema.parse(event)).toEqual(event);
    expect(telemetrySchema.parse(window)).toEqual(window);
    // The app sends the same: from the same data come the same names, ids and contents.
    const stream = await ask(app({
      eventsSince: () => [{ id: of('replay').id, event: past }],
      listenEvents: (listener) => { queueMicrotask(() => listener(now, of('event').id)); return () => undefined; },
      listenTelemetry: (listener) => { queueMicrotask(() => listener(window)); return () => undefined; },
      listenFrames: (listener) => { queueMicrotask(() => { listener(of('sound').data as LiveSample); listener(of('frame').data as LiveSample); }); return () => undefined; },
    }), '/api/events?frames=1&since=0');
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader();
    let sent = '';
    while (!sent.includes('event: frame\n')) sent += Buffer.from((await reader.read()).value ?? []).toString();
    await reader.cancel();
    const messages = [...sent.matchAll(/^event: (\w+)\n(?:id: (\S+)\n)?data: (.+)$/gm)].map(([, name = '', id, data = '']): [string, unknown] => [name, { id, data: JSON.parse(data) }]);
    expect(new Map(messages)).toEqual(examples);
  });
});
