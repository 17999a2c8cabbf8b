import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'yaml';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { configKeys, loadConfig, parseConfig } from '../../../agent/config/load.js';
import { defaultDeviceId, type Config } from '../../../agent/config/schema.js';
import { pipelineSpecs, type PipelineSpec } from '../../../agent/config/pipelines.js';
import { LiveSettings, telemetryInterval } from '../../../agent/config/settings.js';
import { AgentError } from '../../../agent/errors.js';
import { temporaryFolder } from '../support/tools.js';

function problems(input: unknown, env: NodeJS.ProcessEnv = {}): string[] {
  try {
    parseConfig(input, { env });
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    expect(error.code).toBe('E_CONFIG');
    return error.details['problems'] as string[];
  }
  throw new Error('expected E_CONFIG');
}

describe('the configuration', () => {
  it('has a default for everything', () => {
    const config = parseConfig({}, { base: '/base' });
    expect(config).toMatchObject({
      fleet: 'default', state_dir: '/base/.sterna/device', broker: { url: null, protocol: 'auto' }, api: { host: '127.0.0.1', port: 8481 }, camera: { input: null, loop: false },
      telemetry: { interval_ms: 10_000 }, pipeline: { engine: 'native', threads: 1 },
    });
  });

  it('takes systemd\'s folders for its state and its cache', () => {
    const env = { STATE_DIRECTORY: '/var/lib/sterna:/other' };
    expect(parseConfig({}, { env })).toMatchObject({ state_dir: '/var/lib/sterna', cache_dir: '/var/lib/sterna/cache' });
    expect(parseConfig({}, { env: { ...env, CACHE_DIRECTORY: '/var/cache/sterna:/other' } }).cache_dir).toBe('/var/cache/sterna');
    expect(parseConfig({ cache_dir: 'mine' }, { base: '/base', env }).cache_dir).toBe('/base/mine');
  });

  it('lists every wrong key with what was expected and received', () => {
    expect(problems({
      device_id: 'a/b', broker: { url: 'http://x', keepalive_s: '30', protokol: '5', tls: { cert: 'c.pem' } }, api: { port: 70_000 }, camera: { fps: -1 }, telemetry: 5, colour: 'red',
      pipeline: { engine: 'gpu' }, schedule: { self_test: 'sometimes' },
    }).sort()).toEqual([
      'api.port: expected at most 65535 but received 70000',
      'broker.keepalive_s: expected number but received "30"',
      'broker.protokol: expected no such key (misspelt, or at the wrong level?)',
      'broker.tls: expected both cert and key, or neither but received {"cert":"' + resolve('c.pem') + '"}',
      'broker.url: expected mqtt://host[:port], mqtts://..., ws://... or wss://... but received "http://x"',
      'camera.fps: expected at least 0 but received -1',
      'colour: expected no such key (misspelt, or at the wrong level?)',
      'device_id: expected 1 to 64 letters, digits, "_", "." or "-", a letter or digit first but received "a/b"',
      'pipeline.engine: expected one of native, onnxruntime but received "gpu"',
      'schedule.self_test: expected five cron fields such as "17 3 * * *" but received "sometimes"',
      'telemetry: expected object but received 5',
    ]);
  });

  it.each([
    ['ota.web.url', { ota: { web: { url: 'ftp://packages' } } }, 'ota.web.url: expected https://host/path but received "ftp://packages"'],
    ['ota.web.url with a query', { ota: { web: { url: 'https://packages/?token=1' } } }, 'ota.web.url: expected https://host/path'],
    ['ota.web without an address', { ota: { web: { ca: '/ca.pem' } } }, 'ota.web.url: expected string but received nothing'],
    ['ota.web.cert without its key', { ota: { web: { url: 'https://packages', cert: '/d.pem' } } }, 'ota.web: expected both cert and key, or neither'],
    ['ota.web.key without its certificate', { ota: { web: { url: 'https://packages', key: '/d.key' } } }, 'ota.web: expected both cert and key, or neither'],
    ['ota.web.cert without TLS', { ota: { web: { url: 'http://packages', cert: '/d.pem', key: '/d.key' } } }, 'ota.web: expected an https:// address, because cert and key are for TLS'],
    ['ota.window', { ota: { window: 17 } }, 'ota.window: expected at most 16 but received 17'],
    ['ota.window_bytes', { ota: { window_bytes: 1000 } }, 'ota.window_bytes: expected at least 65536 but received 1000'],
    ['ota.max_bytes_per_s', { ota: { max_bytes_per_s: 2048, min_bytes_per_s: 2048 } }, 'ota.min_bytes_per_s: expected less than max_bytes_per_s'],
    ['ota.maintenance', { ota: { maintenance: [{ start: 'at night', minutes: 30 }] } }, 'ota.maintenance.0.start: expected five cron fields such as "17 3 * * *" but received "at night"'],
    ['the length of ota.maintenance', { ota: { maintenance: [{ start: '0 2 * * *', minutes: 1441 }] } }, 'ota.maintenance.0.minutes: expected at most 1440 but received 1441'],
    ['ota.metered', { ota: { metered: { interfaces: ['wwan0'], max_bytes: -1 } } }, 'ota.metered.max_bytes: expected at least 0 but received -1'],
    ['ota.shadow', { ota: { shadow: { agreement: 1.5 } } }, 'ota.shadow.agreement: expected at most 1 but received 1.5'],
    ['ota.shadow.undecided', { ota: { shadow: { undecided: 'wait' } } }, 'ota.shadow.undecided: expected one of commit, reject but received "wait"'],
    ['ota.probation', { ota: { probation: { error_share: -0.1 } } }, 'ota.probation.error_share: expected'],
    ['ota.gate', { ota: { gate: { p99_ms: 0 } } }, 'ota.gate.p99_ms: expected'],
    ['trust.settings_by', { trust: { settings_by: 'image' } }, 'trust.settings_by: expected one of both, director but received "image"'],
    ['trust.hardware_id', { trust: { hardware_id: 'a b' } }, 'trust.hardware_id: expected'],
    ['trust.unsigned', { trust: { unsigned: 'no' } }, 'trust.unsigned: expected boolean but received "no"'],
    ['a key of trust that is misspelt', { trust: { root: '/r.json' } }, 'trust.root: expected no such key'],
  ])('refuses a wrong value of %s', (_, input, message) => {
    const [problem, ...others] = problems(input);
    expect(problem?.startsWith(message) === true ? message : problem).toBe(message);
    expect(others).toEqual([]);
  });

  it('lets the environment override any key, with the key\'s own type', () => {
    const config = parseConfig({ api: { port: 1 }, broker: { url: 'mqtt://a' } }, {
      env: { STERNA_API_PORT: '9000', STERNA_BROKER_URL: 'mqtts://b:8883', STERNA_CAMERA_LOOP: 'true', STERNA_API_ALLOWED_ORIGINS: 'http://a, http://b', STERNA_ISA: 'avx2' },
    });
    expect(config).toMatchObject({ api: { port: 9000, allowed_origins: ['http://a', 'http://b'] }, broker: { url: 'mqtts://b:8883' }, camera: { loop: true } });
    expect(problems({}, { STERNA_API_PORT: 'many', STERNA_CAMERA_LOOP: 'perhaps' })).toEqual([
      'camera.loop: expected boolean but received "perhaps" (from STERNA_CAMERA_LOOP)', 'api.port: expected integer but received "many" (from STERNA_API_PORT)',
    ]);
    expect(configKeys().map(({ path }) => path.join('.'))).toContain('broker.tls.ca');
  });

  it('leaves the names of devices and streams as they are, and resolves a path behind sound:', () => {
    const inputOf = (input: string): string | null => parseConfig({ state_dir: '/s', camera: { input } }, { base: '/base' }).camera.input;
    for (const name of ['alsa:default', 'pulse:mic', 'pcm:s16le:16000:1', 'stdin:640x480', 'sound:rtsp://camera/1', 'sound:alsa:default']) expect(inputOf(name)).toBe(name);
    expect([inputOf('street.wav'), inputOf('sound:clips/a.mp4'), inputOf('sound:/a.mp4')]).toEqual(['/base/street.wav', 'sound:/base/clips/a.mp4', 'sound:/a.mp4']);
  });

  it('resolves paths against the file', () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'sterna.yaml'), 'state_dir: state\nbroker: {url: "mqtt://x", password_file: secret}\ncamera: {input: "rtsp://user:pw@cam/1"}\n');
    expect(loadConfig({ path: join(folder, 'sterna.yaml'), env: {} })).toMatchObject({
      state_dir: join(folder, 'state'), broker: { password_file: join(folder, 'secret') }, camera: { input: 'rtsp://user:pw@cam/1' },
    });
  });

  it.each([
    ['a: [', /not YAML at line 1/],
    ['- 1\n- 2\n', /expected a mapping of keys but received \[1,2\]/],
    ['a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c]\n', /./],
  ])('refuses %j', (text, message) => {
    const path = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(path, text);
    expect(() => loadConfig({ path, env: {} })).toThrow(expect.objectContaining({ code: 'E_CONFIG', message: expect.stringMatching(message) as unknown }));
  });

  it('names a file that is not there', () => {
    expect(() => loadConfig({ path: '/nowhere/sterna.yaml', env: {} })).toThrow(/Cannot read the configuration \/nowhere\/sterna.yaml/);
  });

  it('an empty file is all defaults', () => {
    const path = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(path, '# nothing\n');
    expect(loadConfig({ path, env: {} }).fleet).toBe('default');
  });

  it('the example documents every key, and is valid', () => {
    const text = readFileSync(resolve(import.meta.dirname, '../../../systemd/sterna.yaml'), 'utf8');
    expect(parseConfig(parse(text), { base: '/etc/sterna' }).telemetry).toEqual({ interval_ms: 10_000, qos: 0 });
    // With every comment that shows a key taken away, it is still valid.
    const uncommented = text.split('\n').map((line) => line.replace(/^(\s*)# ?(\s*[a-z_]+: )/, '$1$2')).join('\n');
    expect(parseConfig(parse(uncommented), { base: '/etc/sterna' })).toMatchObject({ api: { port: 8481 }, broker: { tls: { ca: '/etc/sterna/ca.pem' } }, ota: { window: 16 } });
    for (const { path } of configKeys()) expect(text, `${path.join('.')} is missing`).toMatch(new RegExp(`^\\s*#?\\s*${path.at(-1) ?? ''}:`, 'm'));
  });

  it('makes a device id of any host name', () => {
    expect([defaultDeviceId('door-1.local'), defaultDeviceId('..éa b'), defaultDeviceId('!!!'), defaultDeviceId('x'.repeat(99)).length]).toEqual(['door-1.local', 'a-b', 'device', 64]);
  });
});

describe('pipelines', () => {
  const wrong = (input: object): string => {
    try {
      parseConfig(input);
    } catch (error) {
      return error instanceof AgentError ? error.message.split('\n').slice(1).map((line) => line.trim()).join('; ') : String(error);
    }
    return '';
  };

  it('are one, called main, where none is named', () => {
    expect(pipelineSpecs(parseConfig({ camera: { input: '/dev/video0' }, pipeline: { threads: 3 } }))).toMatchObject([
      { name: 'main', input: 'camera', source: { input: '/dev/video0' }, pipeline: { threads: 3 } },
    ]);
  });

  it('have inputs of their own, and take from `pipeline` what they do not set, but not its package', () => {
    const config = parseConfig({
      camera: { input: '/dev/video0' }, inputs: { yard: { input: 'yard.mp4', fps: 5 } }, pipeline: { threads: 3, deadline_ms: 90, package: 'a.sterna' },
      pipelines: { main: { input: 'camera' }, back: { input: 'yard', threads: 1, package: 'b.sterna' } },
    }, { base: '/etc/sterna' });
    expect(pipelineSpecs(config).map(({ name, source, pipeline }) => [name, source.input, source.fps, pipeline.threads, pipeline.deadline_ms, pipeline.package])).toEqual([
      ['main', '/dev/video0', undefined, 3, 90, undefined], ['back', '/etc/sterna/yard.mp4', 5, 1, 90, '/etc/sterna/b.sterna'],
    ]);
  });

  it.each([
    ['an input that is not there', { pipelines: { a: { input: 'yard' } } }, 'pipelines.a.input: expected one of camera but received "yard"'],
    ['an input of two', { camera: { input: 'x' }, pipelines: { a: { input: 'camera' }, b: { input: 'camera' } } }, 'pipelines.b.input: expected an input of its own (pipeline a has this one) but received "camera"'],
    ['an input of none', { camera: { input: '/x' }, inputs: { yard: { input: '/y' } }, pipelines: { a: { input: 'yard' } } }, 'camera: expected a pipeline with this input'],
    ['inputs without pipelines', { inputs: { yard: { input: '/y' } } }, 'inputs.yard: expected `pipelines`, and one of them with this input'],
    ['an input with the name of a key', { inputs: { camera: { input: '/y' } }, pipelines: { a: { input: 'camera' } } }, 'inputs.camera: expected another name'],
    ['no pipeline', { pipelines: {} }, 'pipelines: expected 1 to 16 pipelines'],
    ['a name that no topic can have', { inputs: { 'a/b': { input: '/y' } } }, 'inputs'],
  ])('refuses %s', (_, input, message) => {
    expect(wrong(input)).toContain(message);
  });
});

const onlySpec = (config: Config): PipelineSpec => {
  const [spec, ...others] = pipelineSpecs(config);
  if (spec === undefined || others.length > 0) throw new Error('expected one pipeline');
  return spec;
};

describe('settings from afar', () => {
  it('go over the file\'s, are kept, and do not change when they cannot be written', () => {
    const stored: unknown[] = [];
    const journal = { settings: () => ({}), saveSettings: (s: unknown): void => { stored.push(s); if (stored.length > 1) throw new AgentError('E_DISK_FULL', 'full'); } };
    const settings = new LiveSettings(onlySpec(parseConfig({ pipeline: { match_threshold: 0.3 } })), journal);
    expect(settings.overrides).toEqual({ match_threshold: 0.3 });
    expect(settings.apply({ match_threshold: 0.5 })).toEqual({ source: false, pipeline: true, rules: false });
    expect(settings.apply({ match_threshold: 0.5 })).toEqual({ source: false, pipeline: false, rules: false });
    expect(stored).toHaveLength(1);
    expect(() => settings.apply({ fps: 5, telemetry_interval_ms: 2000 })).toThrow('full');
    expect([settings.fps, telemetryInterval([settings.current, {}, { telemetry_interval_ms: 9000 }], 10_000), settings.overrides]).toEqual([undefined, 9000, { match_threshold: 0.5 }]);
  });
});
