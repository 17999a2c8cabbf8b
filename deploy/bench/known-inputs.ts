import type { ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import type { ChosenValues } from '../compress/values.js';

/** What the inputs of a published model are in use, where its file leaves it open. */
export interface KnownInputs {
  sizes: ChosenSizes;
  values: ChosenValues;
}

/** By the beginning of the file's name. */
const known: Readonly<Record<string, KnownInputs>> = {
  silero_vad: { sizes: { shapes: { input: [1, 576], state: [2, 1, 128] } }, values: { sr: [16_000] } },
};

export const knownInputs = (name: string): KnownInputs => Object.entries(known).find(([start]) => name.startsWith(start))?.[1] ?? { sizes: {}, values: {} };
