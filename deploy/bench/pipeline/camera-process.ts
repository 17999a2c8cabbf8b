import { fork, type ChildProcess } from 'node:child_process';
import { DeployError } from '../../errors.js';
import { builtScript } from '../built-script.js';
import type { Behaviour } from './mjpeg-server.js';

export type CameraRequest =
  | { type: 'start'; count: number; fps: number; jpeg: string }
  | { type: 'behave'; camera: number; behaviour: Behaviour }
  | { type: 'sent' };
export type CameraAnswer =
  | { type: 'urls'; urls: string[] }
  | ({ type: 'sent' } & Sent);

/** What the cameras sent so far. */
export interface Sent {
  /** By camera and number of the picture of its connection: when it was written, milliseconds since 1970. */
  times: number[][];
  /** Pictures that the cameras themselves sent late by more than a period: how busy the machine is. */
  lateBeats: number;
}

/** MJPEG cameras on loopback, in a process of their own. */
export class CameraProcess {
  private constructor(private readonly child: ChildProcess, readonly urls: readonly string[]) {}

  /** @throws DeployError E_BENCH when the process ends early */
  static async start(count: number, { jpeg, fps }: { jpeg: Uint8Array; fps: number }): Promise<CameraProcess> {
    const child = fork(builtScript('deploy/bench/pipeline/camera-child.js'), { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    const { urls } = await ask(child, { type: 'start', count, fps, jpeg: Buffer.from(jpeg).toString('base64') }, 'urls');
    return new CameraProcess(child, urls);
  }

  behave(camera: number, behaviour: Behaviour): void {
    this.child.send({ type: 'behave', camera, behaviour } satisfies CameraRequest);
  }

  /** @throws DeployError E_BENCH when the process has ended */
  async sent(): Promise<Sent> {
    return ask(this.child, { type: 'sent' }, 'sent');
  }

  stop(): void {
    if (this.child.connected) this.child.disconnect();
  }
}

function ask<Type extends CameraAnswer['type']>(child: ChildProcess, request: CameraRequest, type: Type): Promise<Extract<CameraAnswer, { type: Type }>> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new DeployError('E_BENCH', `The process of the cameras ended with code ${code ?? 'none'}`));
    const onMessage = (message: CameraAnswer): void => {
      if (message.type !== type) return;
      child.off('message', onMessage);
      child.off('exit', onExit);
      resolve(message as Extract<CameraAnswer, { type: Type }>);
    };
    child.on('message', onMessage);
    child.once('exit', onExit);
    child.send(request);
  });
}
