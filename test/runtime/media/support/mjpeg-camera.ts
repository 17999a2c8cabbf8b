import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';

export interface MjpegCamera {
  url: string;
  requests: IncomingMessage[];
  /** Connections that are open. */
  streams: ServerResponse[];
}

/** A camera on loopback. `serve` answers a request; by default it opens a stream and leaves it to the test. */
export async function mjpegCamera(serve?: (request: IncomingMessage, response: ServerResponse) => void): Promise<MjpegCamera> {
  const camera: MjpegCamera = { url: '', requests: [], streams: [] };
  const server = createServer((request, response) => {
    camera.requests.push(request);
    if (serve !== undefined) return serve(request, response);
    response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=frame' });
    response.flushHeaders();
    camera.streams.push(response);
  });
  await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  camera.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/video`;
  return camera;
}

/** One part of a stream, as cameras send it. */
export const part = (jpeg: Uint8Array): Buffer => Buffer.concat([Buffer.from(`--frame\r\nContent-Type: image/jpeg\r\nContent-Length: ${jpeg.length}\r\n\r\n`), jpeg, Buffer.from('\r\n')]);
