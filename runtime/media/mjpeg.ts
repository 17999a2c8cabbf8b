import { fetchMessageOf, RuntimeError } from '../errors.js';
import { redact } from '../redact.js';
import { videoFps, type Decoder, type Tally } from './decoded.js';
import { decodeImage } from './image.js';
import { JpegCutter } from './jpeg-cutter.js';
import { Pace } from './pace.js';
import { DropOldestRing } from './ring.js';
import { Watchdog } from './watchdog.js';

export interface MjpegOptions {
  fps: number | undefined;
  /** Scale down so that neither side is longer. */
  maxSide: number | undefined;
  /** Give up when no sound picture comes for so long. */
  stallMs: number;
}

/** A complete picture, not decoded yet, and when its last byte came. */
interface Cut {
  jpeg: Buffer;
  arrivedMs: number;
}

/**
 * Pictures of a camera that sends MJPEG over HTTP (`multipart/x-mixed-replace`, or JPEG pictures one after another). The connection is read as fast as it
 * delivers, and only the newest picture is decoded, so that a camera that is faster than its consumer neither costs decoding nor falls behind. Damaged
 * pictures are left out and counted.
 */
export function mjpegPictures(url: string, options: MjpegOptions): Decoder {
  const name = redact(url);
  return async function* (signal, tally) {
    const stop = new AbortController();
    const ring = new DropOldestRing<Cut>(1);
    const watchdog = new Watchdog(options.stallMs, () => stop.abort());
    const pump = receive({ url, name, fps: options.fps }, { ring, tally, signal: AbortSignal.any([signal, stop.signal]) })
      .then(() => ring.close(), (error: unknown) => ring.close(error));
    const before = tally.dropped;
    try {
      for (;;) {
        const cut = await next(ring, () => (watchdog.fired ? unreadable(name, `no picture for ${options.stallMs} ms`) : null));
        tally.dropped = before + ring.dropped;
        if (cut === undefined || signal.aborted) return;
        const started = performance.now();
        const image = await decodeImage(cut.jpeg, name, options.maxSide === undefined ? {} : { maxSide: options.maxSide }).catch(() => null);
        if (image === null) {
          tally.broken++;
          continue;
        }
        watchdog.pause();
        yield { ...image, fps: options.fps ?? videoFps, decodeMs: performance.now() - started, arrivedMs: cut.arrivedMs };
        watchdog.feed();
      }
    } finally {
      watchdog.pause();
      stop.abort();
      await pump;
    }
  };
}

async function next(ring: DropOldestRing<Cut>, stalled: () => RuntimeError | null): Promise<Cut | undefined> {
  try {
    const cut = await ring.next();
    if (cut !== undefined) return cut;
  } catch (error) {
    throw stalled() ?? error;
  }
  const error = stalled();
  if (error !== null) throw error;
  return undefined;
}

interface Receiver {
  ring: DropOldestRing<Cut>;
  tally: Tally;
  signal: AbortSignal;
}

/** Reads until the camera ends the connection. @throws RuntimeError E_MEDIA */
async function receive({ url, name, fps }: { url: string; name: string; fps: number | undefined }, { ring, tally, signal }: Receiver): Promise<void> {
  const body = await connect(url, name, signal);
  if (body === null) return;
  const cutter = new JpegCutter();
  const pace = new Pace(fps);
  try {
    for await (const chunk of body) {
      const before = cutter.broken;
      const cut = cutter.push(chunk);
      tally.broken += cutter.broken - before;
      for (const jpeg of cut) {
        const arrivedMs = performance.now();
        if (pace.passes(arrivedMs)) ring.push({ jpeg, arrivedMs });
        else ring.dropped++;
      }
    }
  } catch (cause) {
    if (!signal.aborted) throw unreadable(name, redact(fetchMessageOf(cause)), cause);
  }
}

async function connect(url: string, name: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array> | null> {
  const { address, headers } = withHeader(url);
  let answer: Response;
  try {
    answer = await fetch(address, { headers, signal });
  } catch (cause) {
    if (signal.aborted) return null;
    throw unreadable(name, redact(fetchMessageOf(cause)), cause);
  }
  const type = (answer.headers.get('content-type') ?? '').toLowerCase();
  if (answer.ok && /^(multipart\/|video\/(x-)?(motion-jpeg|mjpe?g|x-jpeg))/.test(type)) return answer.body;
  await answer.body?.cancel().catch(() => undefined);
  if (answer.ok) throw unreadable(name, `it sends ${type === '' ? 'no content type' : type.slice(0, 80)} and no MJPEG (multipart/x-mixed-replace)`);
  const digest = answer.status === 401 && /^digest/i.test(answer.headers.get('www-authenticate') ?? '');
  throw unreadable(name, `HTTP ${answer.status} ${answer.statusText}${digest ? '; the camera wants digest authentication, which only rtsp:// inputs can do' : ''}`);
}

/** `fetch` refuses an address with a password: it becomes a header (RFC 7617). */
function withHeader(url: string): { address: URL; headers: Record<string, string> } {
  const address = new URL(url);
  const { username, password } = address;
  address.username = '';
  address.password = '';
  if (username === '' && password === '') return { address, headers: {} };
  const credentials = Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64');
  return { address, headers: { authorization: `Basic ${credentials}` } };
}

function unreadable(name: string, reason: string, cause?: unknown): RuntimeError {
  return new RuntimeError('E_MEDIA', `${name} cannot be decoded: ${reason}`, { details: { source: name }, ...(cause === undefined ? {} : { cause }) });
}
