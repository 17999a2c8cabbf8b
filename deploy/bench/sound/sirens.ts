import { createSession } from '../../../runtime/session.js';
import type { Session } from '../../../runtime/session-types.js';
import { rateBounds } from '../../../runtime/vision/gates/binomial.js';
import { readClips, type Clip } from '../../sound/clips.js';
import type { Bank } from '../../sound/siren/bank.js';
import { alarmsIn, quietScores, recallOf, signalScenes, type Scene } from '../../sound/siren/measure.js';
import { outputOf, readSirenModel, rules } from '../../sound/siren/package.js';
import { heldOutBank } from '../../sound/siren/recipe.js';
import type { Bar } from '../bars.js';

/** A share of 95 % of so many is known to within two points. */
const scenes = 600;
/** Of the scenes; the student was trained and measured with others. */
const seed = 4242;
/** The fold of the recordings that the student did not learn from. */
const heldOutFold = 4;
const classes = ['siren', 'horn'] as const;

interface Heard {
  session: Session;
  bank: Bank;
  noise: string;
}

/** Sirens and horns at 0 and at -5 dB, and false alarms, at the thresholds that the package has. Without recordings the noise is synthesized. */
export async function sirenBars({ hours, sounds, signal }: { hours: number; sounds?: string; signal: AbortSignal }): Promise<Bar[]> {
  const recorded: Clip[] = sounds === undefined ? [] : (await readClips(sounds, (fold) => fold === heldOutFold)).clips;
  const session = await createSession(await readSirenModel(), { threads: 1 });
  const noise = recorded.length === 0 ? 'synthesized traffic and rain' : `${recorded.length} recordings, traffic and rain`;
  const heard = { session, bank: heldOutBank(recorded, seed), noise };
  try {
    const bars: Bar[] = [];
    for (const [ratioDb, siren, horn] of [[0, 95, 95], [-5, 99, null]] as const) {
      bars.push(await recallBar(heard, 'siren', ratioDb, siren), ...(horn === null ? [] : [await recallBar(heard, 'horn', ratioDb, horn)]));
      signal.throwIfAborted();
    }
    return [...bars, ...await alarmBars(heard, hours)];
  } finally {
    await session.close();
  }
}

async function recallBar({ session, bank, noise }: Heard, name: (typeof classes)[number], ratioDb: number, bar: number): Promise<Bar> {
  const signals = name === 'siren' ? bank.sirens : bank.horns;
  return recallBarOf(await signalScenes(session, signals, bank, { count: scenes, ratioDb, seed: seed + ratioDb, output: outputOf(name) }), { name, ratioDb, noise, bar });
}

/** The share of scenes that are heard, with the interval of 95 % that chance leaves. */
export function recallBarOf(heard: readonly Pick<Scene, 'kind' | 'scores'>[], { name, ratioDb, noise, bar }: { name: (typeof classes)[number]; ratioDb: number; noise: string; bar: number }): Bar {
  const { recall, delayMs } = recallOf(heard, rules[name]);
  const { lower, upper } = rateBounds(Math.round(recall * heard.length), heard.length, 0.025);
  const value = 100 * recall;
  const id = name === 'siren' ? `sound.recall_${ratioDb}db` : `sound.horn_recall_${ratioDb}db`;
  const interval = `${(100 * lower).toFixed(1)}..${(100 * upper).toFixed(1)} %`;
  const what = `synthesized ${name}s at ${ratioDb} dB in ${noise}, heard (${heard.length} scenes: ${interval} with 95 % confidence; half of them within ${delayMs.median} ms, nine tenths within ${delayMs.p90} ms)`;
  return { id, what, value, unit: '%', bar: `>= ${bar}`, met: value >= bar };
}

/** Melodies are not among the noise: README.md of the student says what it makes of them. */
async function alarmBars({ session, bank }: Heard, hours: number): Promise<Bar[]> {
  const quiet = await quietScores(session, bank, { hours, seed: seed + 100, outputs: classes.map(outputOf) });
  return classes.map((name, i) => {
    const minutes = quiet[i] ?? [];
    const alarms = alarmsIn(minutes, rules[name]);
    const value = alarms / (minutes.length / 60);
    return { id: name === 'siren' ? 'sound.false_alarms' : 'sound.horn_false_alarms', what: `${name}s heard an hour in the same noise without any (${alarms} in ${minutes.length} minutes)`, value, unit: '/h', bar: '<= 1', met: value <= 1 };
  });
}
