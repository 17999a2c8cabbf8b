/** The cameras of the bench in a process of their own: what the daemon does cannot delay them, and they know when they sent. */
import type { CameraAnswer, CameraRequest } from './camera-process.js';
import { MjpegCameras } from './mjpeg-server.js';

let cameras: MjpegCameras | undefined;
const answer = (message: CameraAnswer): void => void process.send?.(message);

process.on('message', (request: CameraRequest) => {
  if (request.type === 'behave') cameras?.behave(request.camera, request.behaviour);
  else if (request.type === 'sent') answer({ type: 'sent', times: cameras?.sent ?? [], lateBeats: cameras?.lateBeats ?? 0 });
  else {
    cameras = new MjpegCameras(request.count, { jpeg: Buffer.from(request.jpeg, 'base64'), fps: request.fps });
    void cameras.start().then((urls) => answer({ type: 'urls', urls }));
  }
});
process.on('disconnect', () => process.exit());
