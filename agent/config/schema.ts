import { hostname } from 'node:os';
import { validate as isCron } from 'node-cron';
import { z } from 'zod';
import { affinities } from '../../kernels/binding/index.js';
import { strictRuleFields } from '../../runtime/vision/zones/settings.js';
import { DEFAULT_BLOCK_BYTES, gateFields, ID_PATTERN, labelsSchema, MAX_PIPELINES, probationFields, shadowFields } from '../contracts/index.js';
import { pipelineProblems } from './pipeline-problems.js';

/** A host name as a device id: what the topic tree does not allow becomes "-". */
export function defaultDeviceId(host = hostname()): string {
  const id = host.replace(/[^A-Za-z0-9_.-]/g, '-').replace(/^[^A-Za-z0-9]+/, '').slice(0, 64);
  return id === '' ? 'device' : id;
}

const MiB = 1024 * 1024;
const positiveMs = z.number().int().positive();
const idText = z.string().regex(ID_PATTERN, 'expected 1 to 64 letters, digits, "_", "." or "-", a letter or digit first');
const filePath = z.string().min(1);

const certWithKey = [(t: { cert?: string | undefined; key?: string | undefined }): boolean => (t.cert === undefined) === (t.key === undefined), { message: 'expected both cert and key, or neither' }] as const;

const tls = z.strictObject({
  /** PEM file of the authority that signed the broker's certificate; the system's authorities when absent. */
  ca: filePath.optional(),
  /** PEM files of this device's own certificate and key, for mutual TLS: both or none. */
  cert: filePath.optional(),
  key: filePath.optional(),
}).refine(...certWithKey);

const brokerUrl = z.string().regex(/^(mqtts?|wss?|tcp|ssl):\/\/[^/\s]+/, 'expected mqtt://host[:port], mqtts://..., ws://... or wss://...');

const broker = z.strictObject({
  /** Null or absent: run without a broker. */
  url: brokerUrl.nullable().default(null),
  username: z.string().optional(),
  /** File that holds the password, read again at every attempt. */
  password_file: filePath.optional(),
  /** auto: MQTT 5, or 3.1.1 if the broker does not support it. */
  protocol: z.enum(['auto', '5', '3.1.1']).default('auto'),
  keepalive_s: z.number().int().min(5).max(1200).default(30),
  tls: tls.optional(),
});

const camera = z.strictObject({
  /** A folder of pictures, a picture, a video, rtsp://..., http://... (MJPEG), /dev/videoN or stdin:WIDTHxHEIGHT. For pipelines that listen: alsa:DEVICE, pulse:SOURCE, pcm:FORMAT:RATE:CHANNELS (standard input), a file of sound, or sound: before a video or rtsp://... Null or absent: none. */
  input: z.string().min(1).nullable().default(null),
  /** Frames per second; a camera that delivers more is held to this rate. Default: the rate of the source. */
  fps: z.number().positive().max(240).optional(),
  /** For files: start again at the end. */
  loop: z.boolean().default(false),
  /** For files: play at their own frame rate, like a camera. */
  realtime: z.boolean().default(true),
  /** Scale frames down so that neither side is longer, pixels. */
  max_side: z.number().int().min(64).max(8192).optional(),
  /** Reopen the camera after this time without a frame. */
  stall_ms: positiveMs.default(15_000),
});

const threads = z.number().int().min(1).max(64);
const matchThreshold = z.number().min(-1).max(1);
const detectThreshold = z.number().min(0).max(1);

const pipeline = z.strictObject({
  engine: z.enum(['native', 'onnxruntime']).default('native'),
  threads: threads.default(1),
  /** Cores that these threads run on, if the CPU has fast and slow ones. */
  affinity: z.enum(affinities).default('any'),
  /** Overrides the package's own thresholds. */
  match_threshold: matchThreshold.optional(),
  detect_threshold: detectThreshold.optional(),
  /** Follow what is found from frame to frame, so that every object has a number and its own events; absent: as the package says. */
  tracking: z.boolean().optional(),
  ...strictRuleFields,
  /** A frame whose result comes later than this after its scheduled capture has missed its deadline. */
  deadline_ms: positiveMs.default(250),
  /** A package to start with when no package is active: "sterna agent --package". */
  package: filePath.optional(),
  /** The factory package: a file that updates never change or delete. It runs when no other package can. Keep it where the daemon may not write. */
  factory: filePath.optional(),
});

/** One of several pipelines. What it does not set is as in `pipeline`. */
const namedPipeline = z.strictObject({
  /** Name of its input: one of `inputs`, or `camera`. */
  input: idText,
  engine: z.enum(['native', 'onnxruntime']).optional(),
  threads: threads.optional(),
  affinity: z.enum(affinities).optional(),
  match_threshold: matchThreshold.optional(),
  detect_threshold: detectThreshold.optional(),
  tracking: z.boolean().optional(),
  ...strictRuleFields,
  deadline_ms: positiveMs.optional(),
  package: filePath.optional(),
  factory: filePath.optional(),
});

const presence = z.strictObject({
  /** Consecutive frames (one may be missing) in which a person or thing must be seen before "appeared" is sent. */
  appear_frames: z.number().int().min(1).max(100).default(3),
  /** The same for an unknown face; higher, because a known person may not be recognized in every frame. */
  unknown_frames: z.number().int().min(1).max(100).default(6),
  /** A person or thing that was not seen for this time has "left". */
  leave_ms: positiveMs.default(2000),
});

const adapt = z.strictObject({
  /** Move the thresholds of int8 packages to what the camera sees, in the background (README.md, "Adapting thresholds"). The setting `adapt` goes before it. */
  enabled: z.boolean().default(false),
  /** Most of one core that it may take, over time; pipelines share it. */
  cpu_share: z.number().positive().max(1).default(0.05),
  /** Most memory of the process that does it; it ends when it takes more. */
  memory_bytes: z.number().int().min(32 * 1024 * 1024).default(160 * 1024 * 1024),
  /** Frames that thresholds are chosen by, and as many more as `judged_frames` judge them. */
  frames: z.number().int().min(20).max(10_000).default(120),
  judged_frames: z.number().int().min(5).max(1000).default(30),
  /** Least time between two of these frames. */
  every_ms: positiveMs.default(5000),
});

/** Pictures and clips of events, kept on the device. They show people: see README.md, "Recordings", before you switch them on. */
const recordings = z.strictObject({
  enabled: z.boolean().default(false),
  /** Of all pictures and clips together; the oldest are deleted. */
  max_bytes: z.number().int().min(MiB).default(256 * MiB),
  /** Older ones are deleted. */
  max_age_h: z.number().positive().max(24 * 366).default(24 * 7),
  /** Wider pictures are scaled down, pixels. */
  snapshot_width: z.number().int().min(64).max(4096).default(1280),
  /** Whether a clip is kept as well: a few frames before and after the event. */
  clips: z.boolean().default(true),
  clip_before_ms: z.number().int().min(0).max(5000).default(1500),
  clip_after_ms: z.number().int().min(0).max(10_000).default(2500),
  clip_fps: z.number().min(0.5).max(15).default(4),
  clip_width: z.number().int().min(64).max(1920).default(640),
});

const api = z.strictObject({
  enabled: z.boolean().default(true),
  /** Anything but a loopback address opens the API to the network; it has a token, but no encryption. */
  host: z.string().min(1).default('127.0.0.1'),
  /** 0: any free port. */
  port: z.number().int().min(0).max(65_535).default(8481),
  /** File that holds the bearer token; a systemd credential `api.token` comes first. Default: `api.token` in the state folder, made at the first start. */
  token_file: filePath.optional(),
  /** Origins of web pages that may call the API, e.g. http://127.0.0.1:8480. */
  allowed_origins: z.array(z.string().regex(/^https?:\/\/[^/\s]+$/, 'expected an origin such as http://127.0.0.1:8480')).default([]),
});

const gallery = z.strictObject({
  /** File that holds the key of the gallery, 64 hexadecimal digits; a systemd credential `gallery.key` comes first. Default: `gallery.key` in the state folder, made at the first start. */
  key_file: filePath.optional(),
  /** Whether the pictures that people are enrolled from are kept (encrypted with that key), so that a package with another embedder can enroll them again. */
  keep_pictures: z.boolean().default(false),
});

const telemetry = z.strictObject({
  interval_ms: z.number().int().min(1000).max(3_600_000).default(10_000),
  /**
   * How windows are sent while the device is connected. With 0 the broker passes them on if it can, and a collector that is away misses them; with 1 the broker keeps them
   * for collectors that share a subscription (`sterna fleet collect`). Windows that had to wait are sent with 1 always.
   */
  qos: z.union([z.literal(0), z.literal(1)]).default(0),
});

const outbox = z.strictObject({
  max_bytes: z.number().int().min(MiB).default(16 * MiB),
  /** Stored messages sent per second after an outage. */
  backfill_per_s: z.number().positive().max(100).default(10),
});

/** What a package must keep to on this device, beside the budget of its own manifest. Absent: its budget alone. */
const gate = z.strictObject({
  /** Largest p99 of the self-test, all stages together. */
  p99_ms: gateFields.p99_ms.optional(),
  /** Most memory of all models of the package. */
  ram_bytes: gateFields.ram_bytes.optional(),
  /** Most energy of one inference, in joules, where this device can measure or model it. */
  joules: gateFields.joules.optional(),
  /** True: a package without golden vectors may be installed. Then nothing shows that it computes the right results on this processor. */
  allow_without_golden: gateFields.allow_without_golden.default(false),
});

/** A new package runs beside the one that serves before it takes its place; its frames are compared, and nobody acts on them. */
const shadow = z.strictObject({
  /** One in so many of the frames that the serving package looks at is given to the new one as well; 0: packages are not compared. */
  every: shadowFields.every.default(5),
  /** So many samples decide. */
  min_samples: shadowFields.min_samples.default(30),
  /** The comparison ends after this time. */
  max_ms: shadowFields.max_ms.default(300_000),
  /** With too few samples by then, the new package goes on to its probation (commit) or is refused (reject). */
  undecided: shadowFields.undecided.default('commit'),
  /** Smallest share of the boxes, and of the classes and sounds, that either package found and both did. */
  agreement: shadowFields.agreement.default(0.5),
  /** Smallest share of the people whom the serving package knew that the new one takes for the same ones. */
  identity_agreement: shadowFields.identity_agreement.default(0.5),
  /** Most that the new package's median time for a frame may be, in multiples of that of the serving one. */
  latency_ratio: shadowFields.latency_ratio.default(3),
});

/** Rules for a package within its probation; a broken one leads back to the package before. */
const probation = z.strictObject({
  /** Largest share of the last 100 frames that may fail. */
  error_share: probationFields.error_share.default(0.1),
  /** Most that the median time of a frame in full may be, in multiples of the p99 that the package promises or the device allows. */
  latency_ratio: probationFields.latency_ratio.default(1.5),
  /** Largest miss rate of the gates that the audit may show. */
  miss_rate: probationFields.miss_rate.default(0.2),
  /** Heat may slow the processor down for so long without a break, if it did not before the switch. */
  throttled_ms: probationFields.throttled_ms.default(60_000),
});

const cron = z.string().refine(isCron, 'expected five cron fields such as "17 3 * * *"');

const ota = z.strictObject({
  max_package_bytes: z.number().int().positive().default(256 * MiB),
  block_bytes: z.number().int().min(256).max(DEFAULT_BLOCK_BYTES).default(DEFAULT_BLOCK_BYTES),
  /** Blocks or chunks that are on the way at a time. */
  window: z.number().int().min(1).max(16).default(16),
  /** Bytes of them; a download takes no more memory than that. */
  window_bytes: z.number().int().min(64 * 1024).max(8 * MiB).default(512 * 1024),
  /** Bandwidth limit for packages; null: none. */
  max_bytes_per_s: z.number().int().min(1024).nullable().default(null),
  /** A download that is slower than this, averaged over `min_rate_ms`, is given up (E_OTA_SLOW), because somebody may hold it back on purpose. 0: never. */
  min_bytes_per_s: z.number().int().min(0).default(1024),
  /** Time over which the smallest rate is averaged; only time while connected and not waiting counts. */
  min_rate_ms: positiveMs.default(120_000),
  /** Times in which packages are downloaded; none: always. */
  maintenance: z.array(z.strictObject({
    /** When it opens (cron syntax, local time). */
    start: cron,
    minutes: z.number().int().min(1).max(1440),
  })).max(16).default([]),
  metered: z.strictObject({
    /** Network interfaces that cost by volume; a `*` at the end stands for any ending. The default routes say which one is used. */
    interfaces: z.array(z.string().min(1).max(32)).max(32).default(['wwan*', 'ppp*', 'rmnet*']),
    /** Over such an interface, a download that still needs more bytes than this waits for another link; null: none waits. */
    max_bytes: z.number().int().min(0).nullable().default(null),
  }).prefault({}),
  /** A web server that hosts the folder `image` of the repository (sterna repository). Devices fetch chunks from it, and from the publisher when it fails. */
  web: z.strictObject({
    url: z.string().regex(/^https?:\/\/[^\s?#]+$/, 'expected https://host/path'),
    /** PEM file of the authority that signed the server's certificate; the system's authorities when absent. */
    ca: filePath.optional(),
    /** PEM files of this device's own certificate and key, for a server that asks for them (mutual TLS): both or none. */
    cert: filePath.optional(),
    key: filePath.optional(),
  }).refine(...certWithKey).refine(({ url, cert }) => cert === undefined || url.startsWith('https:'), { message: 'expected an https:// address, because cert and key are for TLS' }).optional(),
  /** Request blocks again after this time without one; only time while connected counts. */
  stall_ms: positiveMs.default(10_000),
  /** Give up after this many stalls without a block in between. */
  max_stalls: z.number().int().min(1).max(1000).default(6),
  /** Time limit for opening and testing a candidate, which happens in a process of its own. */
  warm_timeout_ms: positiveMs.default(120_000),
  /** Limit on the resident memory of that process. */
  warm_memory_bytes: z.number().int().min(96 * MiB).default(320 * MiB),
  /** If a new package crashes or fails repeatedly within this time, the device returns to the previous package. */
  probation_ms: positiveMs.default(300_000),
  max_crashes: z.number().int().min(1).max(100).default(3),
  gate: gate.prefault({}),
  shadow: shadow.prefault({}),
  probation: probation.prefault({}),
  /** So many starts in a row that end in a crash or a hang lead back to the package before, or to the factory package. */
  max_failed_starts: z.number().int().min(1).max(100).default(3),
  /** A start in which the package has run for so long did not fail. */
  healthy_ms: positiveMs.default(60_000),
}).refine(({ max_bytes_per_s: most, min_bytes_per_s: least }) => most === null || least < most, { path: ['min_bytes_per_s'], message: 'expected less than max_bytes_per_s' });

const trust = z.strictObject({
  /** Pinned root metadata of the image repository (sterna provision writes it). Default: `trust/image-root.json` in the state folder. */
  image_root: filePath.optional(),
  /** Pinned root metadata of the director. Default: `trust/director-root.json` in the state folder. */
  director_root: filePath.optional(),
  /** PEM file of the private key that reports are signed with: Ed25519, ECDSA (P-256, P-384, P-521) or RSA. Default: the key of the device's certificate, `broker.tls.key`. Without either, reports are not signed. */
  report_key: filePath.optional(),
  /** What packages must be signed for. Default: the processor's architecture, such as x64 or arm64. */
  hardware_id: idText.default(process.arch),
  /** Who must have signed a change of settings: both repositories, as for a package, or the director alone. */
  settings_by: z.enum(['both', 'director']).default('both'),
  /** For development only: take updates, settings and commands from whoever may publish to this device, without signatures. */
  unsigned: z.boolean().default(false),
});

const energy = z.strictObject({
  /** Power of one busy core in watts. Machines without an energy sensor calculate joules from it and CPU time. */
  watts_per_core: z.number().positive().max(100).default(2.5),
  /** Power at rest of what the best sensor measures, watts, for the net energy of an inference until the daemon itself has been idle. */
  idle_watts: z.number().nonnegative().max(1000).optional(),
});

/** Limits that the device keeps by doing less: wider gates, fewer frames, cheaper variants of the package. README.md, "Governor". */
const governor = z.strictObject({
  enabled: z.boolean().default(true),
  /** The hottest zone stays below this, degrees Celsius. Default: 3 below the temperature at which the kernel slows the processor down; where it has none, no limit. */
  max_celsius: z.number().min(30).max(120).optional(),
  /** Mean power of the best energy source, watts. Default: no limit. */
  max_watts: z.number().positive().max(1000).optional(),
  /** How long a discharging battery has to last. Default: no demand. */
  battery_hours: z.number().positive().max(10_000).optional(),
  /** Largest share of the frames that may miss `deadline_ms`. Default: no demand. */
  max_late: z.number().gt(0).lt(1).optional(),
  /** Thresholds of the gates are multiplied by at most this; 1 leaves the gates alone. */
  max_gate_factor: z.number().min(1).max(4).default(2),
  /** At least this share of the frames is processed; 1 leaves the frame rate alone. */
  min_pace: z.number().min(0.01).max(1).default(0.1),
  /** Largest share of the objects that a variant of the package may no longer find; 0 leaves out all variants that miss anything. */
  max_variant_cost: z.number().min(0).max(1).default(0.2),
});

const schedule = z.strictObject({
  /** When to run the golden vectors of the running package (cron syntax). */
  self_test: cron.default('17 3 * * *'),
  /** When to delete expired messages and free space of the outbox (cron syntax). */
  retention: cron.default('*/15 * * * *'),
});

export const configSchema = z.strictObject({
  /** Name of this device in topics. Default: the host name. */
  device_id: idText.default(() => defaultDeviceId()),
  /** Name of the fleet that the device belongs to. */
  fleet: idText.default('default'),
  /** What this device is, such as `ring: canary` or `site: berlin`; roll-outs and the fleet's page choose devices by it. At most 32. */
  labels: labelsSchema.default({}),
  /** Journal, packages, outbox and gallery. Default: systemd's STATE_DIRECTORY, else .sterna/device here. */
  state_dir: filePath,
  /** Compiled programs, which may be deleted at any time. Default: systemd's CACHE_DIRECTORY, else `cache` in the state folder. */
  cache_dir: filePath,
  /** Upper limit for the total size of the cache; 0 keeps no files. */
  cache_max_bytes: z.number().int().min(0).default(128 * MiB),
  log_level: z.enum(['debug', 'info', 'warn', 'error']).default('info'),
  broker: broker.prefault({}),
  camera: camera.prefault({}),
  /** More inputs, by name; each has the keys of `camera`. */
  inputs: z.record(idText, camera).default({}),
  pipeline: pipeline.prefault({}),
  /** Several pipelines, by name, each with an input, a package and updates of its own. Absent: one, `main`, which looks at `camera`. */
  pipelines: z.record(idText, namedPipeline)
    .refine((all) => Object.keys(all).length >= 1 && Object.keys(all).length <= MAX_PIPELINES, `expected 1 to ${MAX_PIPELINES} pipelines`).optional(),
  presence: presence.prefault({}),
  adapt: adapt.prefault({}),
  recordings: recordings.prefault({}),
  api: api.prefault({}),
  gallery: gallery.prefault({}),
  telemetry: telemetry.prefault({}),
  outbox: outbox.prefault({}),
  ota: ota.prefault({}),
  /** Whose signatures this device trusts. */
  trust: trust.prefault({}),
  energy: energy.prefault({}),
  governor: governor.prefault({}),
  schedule: schedule.prefault({}),
}).superRefine((config, context) => {
  for (const { path, message } of pipelineProblems(config)) context.addIssue({ code: 'custom', path: [...path], message });
});
export type Config = z.output<typeof configSchema>;
