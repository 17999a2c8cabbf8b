import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { readInputFile } from '../../cli/files.js';
import { DeployError } from '../../errors.js';
import type { Predictor } from './sampling.js';
import type { Corpus } from './text.js';

/** A language model in sessions of the batch sizes that it is asked for. */
export interface LanguageModel {
  readonly bytes: Uint8Array;
  /** Logits for a tensor of tokens. */
  readonly predict: Predictor;
  close(): Promise<void>;
}

/** Logits of a language model for tokens [rows, context], for any number of rows. */
export function languageModel(bytes: Uint8Array, threads: number): LanguageModel {
  const output = parseModel(bytes).graph.outputs[0]?.name ?? '';
  const sessions = new Map<string, Promise<Session>>();
  const sessionFor = (tokens: Tensor): Promise<Session> => {
    const key = tokens.dims.join();
    const session = sessions.get(key) ?? openOnnxRuntime(bytes, { threads, shapes: { tokens: tokens.dims } });
    sessions.set(key, session);
    return session;
  };
  return {
    bytes,
    predict: async (tokens) => (await (await sessionFor(tokens)).run({ tokens }))[output]?.data as Float32Array,
    close: async () => {
      for (const opened of await Promise.allSettled(sessions.values())) if (opened.status === 'fulfilled') await opened.value.close();
    },
  };
}

/** Characters that the record in a model's metadata names; undefined for a model that the lab has not made. */
function alphabetOf(bytes: Uint8Array): string | undefined {
  try {
    const { characters } = JSON.parse(parseModel(bytes).metadata.get('sterna.lab') ?? '{}') as { characters?: unknown };
    return typeof characters === 'string' ? characters : undefined;
  } catch {
    return undefined;
  }
}

/** The teacher of a run on a text. @throws DeployError E_LAB: it does not see the same characters; E_FILE */
export async function openTeacher(path: string, { characters }: Corpus, context: number, threads: number): Promise<LanguageModel> {
  const bytes = await readInputFile(path);
  const known = alphabetOf(bytes);
  if (known !== undefined && known !== characters.join('')) throw new DeployError('E_LAB', `Teacher ${path} was trained on a text of ${[...known].length} other characters; expected the ${characters.length} of this text`, { details: { path } });
  const { inputs, initializers } = parseModel(bytes).graph;
  const names = inputs.map(({ name }) => name).filter((name) => !initializers.has(name));
  if (names.join() !== 'tokens') throw new DeployError('E_LAB', `Expected a teacher with the input 'tokens' but ${path} has ${names.join(', ')}`, { details: { path } });
  const teacher = languageModel(bytes, threads);
  try {
    const logits = await teacher.predict({ type: 'int64', dims: [1, context], data: new BigInt64Array(context) });
    const made = logits?.length ?? 0;
    if (made !== context * characters.length) throw new DeployError('E_LAB', `Teacher ${path} makes ${made} logits; expected ${context} x ${characters.length} (context, characters), as the student's`, { details: { path } });
    return teacher;
  } catch (error) {
    await teacher.close();
    throw error;
  }
}
