/** Handles the messages `cmd/{name}`. Each is decoded, verified, executed once for each id, and answered in `res/{id}`. */
import {
  commandNames, commandSchema, decodePayload, encodePayload, responseSchema, SCHEMA_VERSION, type Command, type CommandName, type Response,
} from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { Rate } from '../mqtt/rate.js';
import type { Journal } from '../ota/journal.js';
import type { Clock } from '../platform/clock.js';
import type { Trust } from '../trust/trust.js';

/** @param pipeline the one that the command names; absent means the first pipeline of the device */
export type CommandAction = (args: Readonly<Record<string, unknown>>, pipeline?: string) => Promise<Record<string, unknown>> | Record<string, unknown>;

export interface CommandParts {
  journal: Pick<Journal, 'response' | 'saveResponse'>;
  clock: Clock;
  trust: Pick<Trust, 'acceptCommand'>;
  /** Called for each command that is not trusted. */
  onRefused: (error: CodedError) => void;
  bootId: string;
  actions: Record<CommandName, CommandAction>;
  /** Sends an answer. It must not throw. */
  answer: (id: string, payload: Buffer) => void;
  onExecuted: () => void;
}

const MAX_PENDING = 16;
/** Whoever may publish can send commands that are not trusted. The number of answers to them is limited, so that a flood causes no flood. */
const REFUSALS = { perSecond: 1, burst: 5 };

export class CommandHandler {
  readonly #parts: CommandParts;
  /** Commands run one after another, because two self-tests at the same time would slow each other down and falsify both measurements. */
  #chain: Promise<void> = Promise.resolve();
  readonly #pending = new Set<string>();
  readonly #refusals = new Rate(REFUSALS);

  constructor(parts: CommandParts) {
    this.#parts = parts;
  }

  /**
   * Takes a command, and returns before it is executed.
   * @throws ContractError for a payload that is no command, AgentError E_COMMAND when too many commands wait
   */
  receive(name: string, payload: Uint8Array): void {
    const command = decodePayload(commandSchema, payload);
    if (this.#pending.has(command.id)) return;
    if (this.#pending.size >= MAX_PENDING) throw new AgentError('E_COMMAND', `More than ${MAX_PENDING} commands are waiting; command ${command.id} was not accepted`);
    this.#pending.add(command.id);
    this.#chain = this.#chain.then(() => this.#handle(name, command)).finally(() => this.#pending.delete(command.id));
  }

  /** Resolves when everything that was received so far is answered. */
  idle(): Promise<void> {
    return this.#chain;
  }

  async #handle(name: string, command: Command): Promise<void> {
    const { journal, clock, trust } = this.#parts;
    try {
      const isNew = trust.acceptCommand(name, command);
      const known = responseSchema.safeParse(attempt(() => journal.response(command.id)));
      if (known.success) return this.#send(known.data);
      if (!isNew) throw new AgentError('E_TRUST_COMMAND_REPLAYED', `The command ${command.id} was taken before, and its answer is no longer known; it is not carried out again`);
    } catch (error) {
      return this.#refuse(name, command, toCodedError(error));
    }
    const response = await this.#execute(name, command);
    // If the answer cannot be remembered, it is sent all the same; the command would then run again if its id were repeated.
    attempt(() => journal.saveResponse(command.id, response, clock.nowMs()));
    this.#send(response);
  }

  /** Refuses a command, without remembering the answer: strangers must not push the answers to operators out of the journal. */
  #refuse(name: string, command: Command, { code, message }: CodedError): void {
    const { clock, bootId, onRefused } = this.#parts;
    onRefused({ code, message });
    if (!this.#refusals.take(clock.monotonicMs())) return;
    this.#send({ schema_version: SCHEMA_VERSION, id: command.id, command: name.slice(0, 64), boot_id: bootId, time_ms: clock.nowMs(), ok: false, code, message: message.slice(0, 4096) });
  }

  async #execute(name: string, command: Command): Promise<Response> {
    const { clock, bootId, actions } = this.#parts;
    const base = { schema_version: SCHEMA_VERSION, id: command.id, command: name, boot_id: bootId };
    try {
      if (command.expires_ms !== undefined && clock.nowMs() > command.expires_ms) {
        throw new AgentError('E_COMMAND', `Command ${command.id} expired ${Math.round(clock.nowMs() - command.expires_ms)} ms ago by this device's clock`);
      }
      const known = commandNames.find((candidate) => candidate === name);
      if (known === undefined) throw new AgentError('E_COMMAND', `Expected one of ${commandNames.join(', ')} but received ${JSON.stringify(name)}`);
      const result = await actions[known](command.args, command.pipeline);
      this.#parts.onExecuted();
      return { ...base, time_ms: clock.nowMs(), ok: true, result };
    } catch (error) {
      const { code, message } = toCodedError(error);
      return { ...base, time_ms: clock.nowMs(), ok: false, code, message: message.slice(0, 4096) };
    }
  }

  #send(response: Response): void {
    const payload = attempt(() => encodePayload(responseSchema, response))
      ?? encodePayload(responseSchema, { ...response, ok: false, code: 'E_COMMAND', message: 'The result is too large for a message', result: {} });
    this.#parts.answer(response.id, payload);
  }
}

function attempt<T>(work: () => T): T | null {
  try {
    return work();
  } catch {
    return null;
  }
}
