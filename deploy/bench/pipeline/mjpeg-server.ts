import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a camera of the bench does. */
export type Behaviour = 'steady' | 'stalled' | 'flooding';

/** Times its rate. */
const FLOOD = 20;

/** Cameras on loopback that send one JPEG picture again and again, each in its own phase. */
export class MjpegCameras {
  readonly #jpeg: Buffer;
  readonly #fps: number;
  readonly #streams: Set<ServerResponse>[];
  readonly #behaviours: Behaviour[];
  /** By camera, and number of the picture of its last connection: when it was written, milliseconds since 1970. */
  readonly sent: number[][];
  /** Beats of a timer that were late by more than a period of the cameras: pictures that were sent late. */
  lateBeats = 0;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #server: Server;

  constructor(count: number, { jpeg, fps }: { jpeg: Uint8Array; fps: number }) {
    this.#fps = fps;
    this.#jpeg = Buffer.concat([Buffer.from(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`), jpeg, Buffer.from('\r\n')]);
    this.#streams = Array.from({ length: count }, () => new Set<ServerResponse>());
    this.#behaviours = this.#streams.map(() => 'steady');
    this.sent = this.#streams.map(() => []);
    this.#server = createServer(({ url }, response) => {
      const index = Number(url?.slice(1));
      const streams = this.#streams[index];
      if (streams !== undefined) this.sent[index] = [];
      response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=frame' });
      streams?.add(response);
      response.once('close', () => streams?.delete(response));
    });
  }

  async start(): Promise<string[]> {
    await new Promise<void>((resolve) => { this.#server.listen(0, '127.0.0.1', resolve); });
    for (const index of this.#streams.keys()) this.#timers.push(setTimeout(() => this.#tick(index), (index * 1000) / this.#fps / this.#streams.length));
    const { port } = this.#server.address() as AddressInfo;
    return this.#streams.map((_, index) => `http://127.0.0.1:${port}/${index}`);
  }

  behave(index: number, behaviour: Behaviour): void {
    this.#behaviours[index] = behaviour;
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #tick(index: number): void {
    let beat = 0;
    let lastMs = performance.now();
    const periodMs = 1000 / this.#fps;
    this.#timers.push(setInterval(() => {
      const nowMs = performance.now();
      if (nowMs - lastMs > periodMs) this.lateBeats++;
      lastMs = nowMs;
      const behaviour = this.#behaviours[index];
      if (behaviour === 'stalled' || (behaviour === 'steady' && beat++ % FLOOD !== 0)) return;
      for (const stream of this.#streams[index] ?? []) {
        if (stream.writableNeedDrain) continue;
        stream.write(this.#jpeg);
        this.sent[index]?.push(Date.now());
      }
    }, periodMs / FLOOD));
  }
}
