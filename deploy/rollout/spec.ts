/** What an operator asks of a roll-out: its waves, and the rules that stop it. */
import { z } from 'zod';
import { ID_PATTERN } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';

const percent = z.number().min(0).max(100);
const duration = z.number().int().nonnegative();

export const waveSchema = z.object({
  /** Labels that a device must have, all of them; empty: every device. */
  labels: z.record(z.string().regex(ID_PATTERN), z.string().min(1).max(64)),
  /** How many of the devices with these labels, counted from the first of the order by hash. Those of earlier waves are among them. */
  percent: percent.gt(0),
});
export type Wave = z.infer<typeof waveSchema>;

export const specSchema = z.object({
  waves: z.array(waveSchema).min(1).max(32),
  /** A wave passes when so many of its devices have succeeded. Devices that are away at the timeout, and superseded ones, do not count. */
  min_success_percent: percent,
  /** The roll-out halts when more of a wave's results are failures. */
  max_error_percent: percent,
  /** Neither rule is applied to fewer results than this, unless the wave has no more of them to give. */
  min_samples: z.number().int().min(1),
  /** The devices of a wave start at times that are spread over this span by hash. */
  spread_ms: duration,
  /** Wait between the success of a wave and the next one. A failure in it still halts. */
  soak_ms: duration,
  /** After this time a device that is online has failed, and one that is away no longer counts. */
  timeout_ms: duration.min(1),
  /** `wait`: for an operator. `abort`: take everything back at once. */
  on_halt: z.enum(['wait', 'abort']),
  /** Devices are ordered by a hash of this text and their name. */
  seed: z.string().min(1).max(64),
});
export type RolloutSpec = z.infer<typeof specSchema>;

export const defaultSpec: Omit<RolloutSpec, 'seed'> = {
  waves: [5, 25, 100].map((share) => ({ labels: {}, percent: share })),
  min_success_percent: 90, max_error_percent: 5, min_samples: 5,
  spread_ms: 60_000, soak_ms: 300_000, timeout_ms: 86_400_000, on_halt: 'wait',
};

/**
 * A wave as the command line writes it: `25%`, `ring=canary`, `ring=canary,site=berlin:50%`.
 * @throws DeployError E_USAGE
 */
export function parseWave(text: string): Wave {
  const parts = text.trim().split(':');
  const share = /^(\d+(?:\.\d+)?)\s*%$/.exec(parts.at(-1) ?? '')?.[1];
  const named = share === undefined ? parts : parts.slice(0, -1);
  const wave = named.length > 1 || text.trim() === '' ? null : waveSchema.safeParse({ labels: parseLabels(named[0]?.split(',') ?? []), percent: share === undefined ? 100 : Number(share) });
  if (wave?.success === true) return wave.data;
  throw new DeployError('E_USAGE', `Expected a wave such as 25%, ring=canary or ring=canary:50% but received ${JSON.stringify(text)}`);
}

/** `NAME=VALUE` pairs. @throws DeployError E_USAGE */
export function parseLabels(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(pairs.map((pair) => {
    const [, name, value] = /^\s*([^=\s]+)=([^=]*[^=\s])\s*$/.exec(pair) ?? [];
    if (name === undefined || value === undefined || !ID_PATTERN.test(name)) throw new DeployError('E_USAGE', `Expected a label NAME=VALUE but received ${JSON.stringify(pair)}`);
    return [name, value];
  }));
}

export function hasLabels(labels: Readonly<Record<string, string>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value);
}

/** So many percent of `n` devices, rounded up. A whole number of devices can come out as 7.000000000000001. */
export function shareOf(n: number, share: number): number {
  return Math.ceil(Number(((n * share) / 100).toFixed(6)));
}

export const devicesText = (n: number): string => `${n} ${n === 1 ? 'device' : 'devices'}`;

/** The name of a wave by its index. */
export function nameOfWave({ waves }: Pick<RolloutSpec, 'waves'>, index: number): string {
  const wave = waves[index];
  return wave === undefined ? '' : waveName(wave);
}

export function waveName({ labels, percent: share }: Wave): string {
  const named = Object.entries(labels).map(([name, value]) => `${name}=${value}`).join(',');
  if (named === '') return `${share} %`;
  return share === 100 ? named : `${named}: ${share} %`;
}
