/** Checks cameras and other inputs: which are plugged in, and whether a picture comes from the configured one. */
import { accessSync, constants, existsSync } from 'node:fs';
import { messageOf } from '../../runtime/errors.js';
import { findFfmpeg, isSoundInput, openSource } from '../../runtime/media/index.js';
import { redact } from '../../runtime/redact.js';
import type { Config } from '../config/schema.js';
import { pipelineSpecs } from '../config/pipelines.js';
import type { HostFiles } from '../platform/host-files.js';
import { checksOf, type Check } from './check.js';

const PICTURE_TIMEOUT_MS = 15_000;

/** Video devices with their names. One camera may have several, of which only one gives pictures. */
export async function videoDevices(files: HostFiles): Promise<{ path: string; name: string }[]> {
  const nodes = (await files.list('sys/class/video4linux')).filter((node) => /^video\d+$/.test(node));
  return Promise.all(nodes.map(async (node) => ({ path: `/dev/${node}`, name: (await files.text(`sys/class/video4linux/${node}/name`)) ?? '' })));
}

/** Takes one picture. @throws what the source throws, and an Error when no picture comes in time */
async function firstPicture(input: string, { fps, max_side: maxSide }: Config['camera']): Promise<{ width: number; height: number }> {
  const stop = AbortSignal.timeout(PICTURE_TIMEOUT_MS);
  for await (const { width, height } of openSource(input, { signal: stop, ...(fps === undefined ? {} : { fps }), ...(maxSide === undefined ? {} : { maxSide }) })) return { width, height };
  throw new Error(stop.aborted ? `no picture came within ${PICTURE_TIMEOUT_MS / 1000} s` : 'it has no picture');
}

/** Why the device file cannot be used, and what to do about it; null when it can be used. */
function deviceProblem(path: string, found: readonly { path: string; name: string }[]): [string, string] | null {
  const others = found.length === 0 ? 'no camera is plugged in, or its driver is missing: see `dmesg`' : `set camera.input to one of ${found.map((device) => `${device.path} (${device.name})`).join(', ')}`;
  if (!existsSync(path)) return [`${path} does not exist`, others];
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return null;
  } catch {
    return [`${path} may not be opened by this user`, 'run the command as root; the daemon needs the group video'];
  }
}

export interface CameraSituation {
  files: HostFiles;
  /** While the daemon runs it holds the camera, which can be opened only once. */
  daemonRuns: boolean;
}

async function checkInput(name: string, source: Config['camera'], { files, daemonRuns }: CameraSituation): Promise<Check> {
  const report = checksOf(`input ${name}`);
  const found = await videoDevices(files);
  const details = { devices: found };
  const { input } = source;
  if (input === null) {
    const remedy = found[0] === undefined ? 'plug one in, or set camera.input to rtsp://..., http://... or a file' : `set camera.input, for example to ${found[0].path} (${found[0].name})`;
    return report.none('no camera is configured', { details, remedy });
  }
  if (input.startsWith('/dev/')) {
    const problem = deviceProblem(input, found);
    if (problem !== null) return report.failed(problem[0], { details, remedy: problem[1] });
  }
  if (daemonRuns) return report.ok(`${redact(input)} is in use by the daemon, which reports on it above`, { details });
  if (isSoundInput(input) || input.startsWith('stdin:')) return report.none(`${redact(input)} is not opened by this command`, { details });
  try {
    const { width, height } = await firstPicture(input, source);
    return report.ok(`a picture of ${width}x${height} pixels came from ${redact(input)}`, { details: { ...details, width, height } });
  } catch (error) {
    return report.failed(`${redact(input)}: ${messageOf(error)}`, { details, remedy: 'check address, password and cable; `ffplay` with the same address shows whether ffmpeg can read it' });
  }
}

export async function checkInputs(config: Config, situation: CameraSituation): Promise<Check[]> {
  const inputs = new Map(pipelineSpecs(config).map(({ input, source }) => [input, source]));
  const checks: Check[] = [];
  for (const [name, source] of inputs) checks.push(await checkInput(name, source, situation));
  return checks;
}

export function checkFfmpeg(env: NodeJS.ProcessEnv): Check[] {
  const report = checksOf('ffmpeg');
  try {
    return [report.ok(findFfmpeg(env))];
  } catch {
    return [report.warning('not found: cameras, videos and sound need it', { remedy: 'apt install ffmpeg' })];
  }
}
