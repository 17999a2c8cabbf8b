import { spawn, type ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

/**
 * An RTSP camera on loopback (RFC 2326, interleaved over TCP), as much of it as ffmpeg asks for. Its pictures are those of an ffmpeg process: MJPEG in RTP
 * (RFC 2435), where every picture states its own size.
 */
export class RtspCamera {
  url = '';
  /** Packets are forwarded. */
  #flowing = true;
  /** One packet in so many is damaged; 0: none. */
  damageEvery = 0;
  #encoder: ChildProcess | null = null;
  readonly #players = new Set<Socket>();
  readonly #ffmpeg: string;
  /** Connections that were opened. */
  connections = 0;
  #rtpPort = 0;

  constructor(ffmpeg: string) {
    this.#ffmpeg = ffmpeg;
  }

  static async start(ffmpeg: string, size = '64x48'): Promise<RtspCamera> {
    const camera = new RtspCamera(ffmpeg);
    await camera.#listen();
    onTestFinished(() => void camera.#encoder?.kill('SIGKILL'));
    camera.film(size);
    return camera;
  }

  /** Delivers pictures of this size from now on. */
  film(size: string): void {
    this.#encoder?.kill('SIGKILL');
    this.#encoder = spawn(this.#ffmpeg, [
      '-nostdin', '-loglevel', 'error', '-re', '-f', 'lavfi', '-i', `testsrc=size=${size}:rate=20`,
      '-c:v', 'mjpeg', '-pix_fmt', 'yuvj420p', '-huffman', 'default', '-q:v', '5', '-f', 'rtp', `rtp://127.0.0.1:${this.#rtpPort}`,
    ], { stdio: 'ignore' });
  }

  /** Sends nothing, and keeps the connection. */
  stall(): void {
    this.#flowing = false;
  }

  resume(): void {
    this.#flowing = true;
  }

  /** Ends all connections. */
  die(): void {
    for (const player of this.#players) player.destroy();
  }

  async #listen(): Promise<void> {
    const rtp = createSocket('udp4');
    let count = 0;
    rtp.on('message', (packet) => {
      if (!this.#flowing) return;
      if (this.damageEvery > 0 && ++count % this.damageEvery === 0) packet.fill(0xa5, Math.min(packet.length, 24));
      const header = Buffer.from([0x24, 0, packet.length >> 8, packet.length & 0xff]);
      for (const player of this.#players) player.write(Buffer.concat([header, packet]));
    });
    await new Promise<void>((resolve) => { rtp.bind(0, '127.0.0.1', resolve); });
    this.#rtpPort = rtp.address().port;
    const server = createServer((socket) => this.#serve(socket));
    await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
    this.url = `rtsp://127.0.0.1:${(server.address() as AddressInfo).port}/live`;
    onTestFinished(() => {
      this.die();
      server.close();
      rtp.close();
    });
  }

  #serve(socket: Socket): void {
    this.connections += 1;
    let text = '';
    socket.on('error', () => undefined).on('close', () => this.#players.delete(socket));
    socket.on('data', (piece) => {
      text += piece.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        // Receiver reports come between requests.
        const request = text.slice(text.search(/[A-Z]{4,} rtsp:/), end);
        text = text.slice(end + 4);
        this.#answer(socket, request);
      }
    });
  }

  #answer(socket: Socket, request: string): void {
    const [method = ''] = request.split(' ');
    const sequence = /CSeq: *(\d+)/i.exec(request)?.[1] ?? '0';
    const reply = (headers: string, body = ''): void => void socket.write(`RTSP/1.0 200 OK\r\nCSeq: ${sequence}\r\n${headers}${body === '' ? '' : `Content-Length: ${body.length}\r\n`}\r\n${body}`);
    if (method === 'OPTIONS') reply('Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n');
    else if (method === 'DESCRIBE') reply('Content-Type: application/sdp\r\n', 'v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track1\r\n');
    else if (method === 'SETUP') reply('Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n');
    else reply('Session: 1\r\n');
    if (method === 'PLAY') this.#players.add(socket);
  }
}
