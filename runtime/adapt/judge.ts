import { RuntimeError } from '../errors.js';
import type { Session } from '../session-types.js';
import type { Tensor } from '../tensor.js';

type Feeds = Readonly<Record<string, Tensor>>;

/** Expected outputs take at most this much memory, bytes; fewer samples are compared where they are large. */
const memory = 8 << 20;

/** An output that varies by less, as a share of its energy, does not depend on the sample. */
const leastVariation = 1e-10;

/** Compares a model's outputs with expected ones, on a few samples. */
export class Judge {
  #samples: Feeds[];
  readonly #expected = new Map<Feeds, Map<string, Float32Array>>();
  #bytes = 0;

  constructor(samples: readonly Feeds[]) {
    this.#samples = [...samples];
  }

  get samples(): readonly Feeds[] {
    return this.#samples;
  }

  /** Notes what is expected for a sample, if it is one of those that are compared. */
  expect(feeds: Feeds, results: Readonly<Record<string, Tensor>>, outputs: readonly string[]): void {
    if (!this.#samples.includes(feeds)) return;
    const wanted = new Map(outputs.flatMap((name) => {
      const data = results[name]?.data;
      return data instanceof Float32Array ? [[name, Float32Array.from(data)] as const] : [];
    }));
    this.#bytes += [...wanted.values()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    if (this.#bytes > memory && this.#expected.size >= 3) this.#samples = this.#samples.filter((sample) => sample !== feeds);
    else this.#expected.set(feeds, wanted);
  }

  /**
   * Energy of the differences from the expected outputs over what varies in these from sample to sample; mean over the outputs. Outputs that are the same
   * for every sample are left out: places of boxes would hide what becomes of their scores.
   * @throws RuntimeError E_ADAPT: no output varies
   */
  async errorOf(session: Session): Promise<number> {
    const noise = new Map<string, number>();
    let results: Readonly<Record<string, Tensor>> = {};
    for (const feeds of this.#samples) {
      results = await session.run(feeds, results);
      for (const [name, wanted] of this.#expected.get(feeds) ?? []) {
        const got = results[name]?.data ?? [];
        let error = 0;
        for (let i = 0; i < wanted.length; i++) error += (Number(got[i]) - (wanted[i] ?? 0)) ** 2;
        noise.set(name, (noise.get(name) ?? 0) + error);
      }
    }
    const variation = this.#variation();
    const shares = [...noise].flatMap(([name, error]) => {
      const { varies = 0, energy = 0 } = variation.get(name) ?? {};
      return varies > leastVariation * energy ? [error / varies] : [];
    });
    if (shares.length === 0) throw new RuntimeError('E_ADAPT', 'The outputs are the same for every sample, so they cannot say which thresholds are better; expected samples that differ');
    return shares.reduce((sum, share) => sum + share, 0) / shares.length;
  }

  /** By output: energy of what is expected without its mean over the samples, and with it. */
  #variation(): Map<string, { varies: number; energy: number }> {
    const all = [...this.#expected.values()];
    return new Map([...(all[0] ?? new Map<string, Float32Array>())].map(([name, { length }]) => {
      let [varies, energy] = [0, 0];
      for (let i = 0; i < length; i++) {
        let [sum, squares] = [0, 0];
        for (const outputs of all) {
          const value = outputs.get(name)?.[i] ?? 0;
          sum += value;
          squares += value * value;
        }
        energy += squares;
        varies += squares - (sum * sum) / all.length;
      }
      return [name, { varies, energy }];
    }));
  }
}
