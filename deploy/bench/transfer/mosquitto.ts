import { spawn, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../demo/device-process.js';
import { DeployError } from '../../errors.js';

export interface Mosquitto {
  readonly port: number;
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

export const mosquittoMissing = (): boolean => spawnSync('mosquitto', ['-h']).error !== undefined;

const START_TIMEOUT_MS = 30_000;

/**
 * A real Mosquitto that listens on loopback only.
 * @param lines more lines of its configuration; without any, everybody may connect
 * @param wantedPort 0: any free port
 * @throws DeployError E_BENCH when it does not begin to listen
 */
export async function startMosquitto(folder: string, lines: readonly string[] = [], wantedPort = 0): Promise<Mosquitto> {
  const port = wantedPort === 0 ? await freePort() : wantedPort;
  const config = join(folder, `mosquitto-${port}.conf`);
  await writeFile(config, [`listener ${port} 127.0.0.1`, ...(lines.length === 0 ? ['allow_anonymous true'] : lines), ''].join('\n'));
  const child = spawn('mosquitto', ['-c', config], { stdio: 'ignore' });
  let over = false;
  const exited = new Promise<void>((resolve) => {
    const end = (): void => { over = true; resolve(); };
    child.once('exit', end).once('error', end);
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await exited;
  };
  for (const deadline = Date.now() + START_TIMEOUT_MS; !(await canConnect(port)); await sleep(20)) {
    if (!over && Date.now() < deadline) continue;
    await stop();
    throw new DeployError('E_BENCH', `Mosquitto does not listen on 127.0.0.1:${port}${over ? ': it ended' : ''}`);
  }
  return { port, url: `mqtt://127.0.0.1:${port}`, pid: child.pid ?? 0, stop };
}

/** Whether something listens on a port of loopback. */
export function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.once('error', () => resolve(false));
  });
}
