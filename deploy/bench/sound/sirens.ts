import { createSession } from '../../../runtime/session.js';
import { readClips, type Clip } from '../../sound/clips.js';
import { sirenOutputs, readSirenModel, thresholds } from '../../sound/siren/package.js';
import { beginnings, quietScores, recallOf, sirenScenes } from '../../sound/siren/measure.js';
import { heldOutBank } from '../../sound/siren/recipe.js';
import type { Bar } from '../bars.js';

const scenes = 200;
/** Of the scenes; the student was trained and measured with others. */
const seed = 4242;
/** The fold of the recordings that the student did not learn from. */
const heldOutFold = 4;

/** Sirens at 0 and at -5 dB, and false alarms, at the threshold that the package has. Without recordings the noise is synthesized. */
export async function sirenBars({ hours, sounds, signal }: { hours: number; sounds?: string; signal: AbortSignal }): Promise<Bar[]> {
  const recorded: Clip[] = sounds === undefined ? [] : (await readClips(sounds)).clips.filter(({ fold }) => fold === heldOutFold);
  // Melodies are not among the noise: README.md of the student says what it makes of them.
  const bank = { ...heldOutBank(recorded, seed), tonal: [] };
  const output = sirenOutputs.indexOf('siren');
  const session = await createSession(await readSirenModel(), { threads: 1 });
  const noise = recorded.length === 0 ? 'synthesized traffic and rain' : `${recorded.length} recordings, traffic and rain`;
  try {
    const bars: Bar[] = [];
    for (const [ratioDb, bar] of [[0, 95], [-5, 99]] as const) {
      signal.throwIfAborted();
      const { recall, delayMs } = recallOf(await sirenScenes(session, bank, { count: scenes, ratioDb, seed: seed + ratioDb, output }), thresholds.siren);
      const value = 100 * recall;
      bars.push({ id: `sound.recall_${ratioDb}db`, what: `synthesized sirens at ${ratioDb} dB in ${noise}, heard (${scenes} scenes; half of them within ${delayMs.median} ms)`, value, unit: '%', bar: `>= ${bar}`, met: value >= bar });
    }
    signal.throwIfAborted();
    const quiet = await quietScores(session, bank, { hours, seed: seed + 100, output });
    const alarms = quiet.reduce((sum, scores) => sum + beginnings(scores, thresholds.siren).length, 0);
    const value = alarms / (quiet.length / 60);
    return [...bars, { id: 'sound.false_alarms', what: `false alarms an hour in the same noise (${alarms} in ${quiet.length} minutes)`, value, unit: '/h', bar: '<= 1', met: value <= 1 }];
  } finally {
    await session.close();
  }
}
