import { CommanderError, type Command } from 'commander';
import { SternaError } from '../../kernels/binding/errors.js';
import { DeployError } from '../errors.js';

/** What `sterna` exits with. Documented in --help and in deploy/README.md; scripts depend on it. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  input: 3,
  missing: 4,
  timeout: 5,
  interrupted: 130,
} as const;

export const exitCodeHelp = `
Exit codes:
  0  done
  1  failed, and the message names an error code; or the verdict is no, and the report says why
  2  the command line makes no sense
  3  an input was not found or is invalid (model, package, image, configuration)
  4  something is missing on this machine (engine, native library, ffmpeg, instruction set)
  5  a device did not finish or answer in time; it may still do so
  130  interrupted (Ctrl-C) before it was done

With --json, stdout carries JSON only, logs go to stderr, and a failure is {"error": {"code", "message", "details"}}.`;

const exitCodeOf: Readonly<Record<string, number>> = {
  E_USAGE: exitCodes.usage,
  E_FILE: exitCodes.input,
  E_SETTINGS: exitCodes.input,
  E_INPUT: exitCodes.input,
  E_OPTION: exitCodes.usage,
  E_MODEL_FILE: exitCodes.input,
  E_MODEL_MALFORMED: exitCodes.input,
  E_MODEL_LIMIT: exitCodes.input,
  E_MODEL_OP: exitCodes.input,
  E_MODEL_SHAPE: exitCodes.input,
  E_MODEL_VALUE: exitCodes.input,
  E_QUANTIZE: exitCodes.input,
  E_PACKAGE: exitCodes.input,
  E_PACKAGE_VERSION: exitCodes.input,
  E_MEDIA: exitCodes.input,
  E_GALLERY_KEY: exitCodes.input,
  E_GALLERY_TAMPERED: exitCodes.input,
  E_CONFIG: exitCodes.input,
  E_DEPENDENCY: exitCodes.missing,
  E_ENGINE_MISSING: exitCodes.missing,
  E_FFMPEG_MISSING: exitCodes.missing,
  E_NATIVE_MISSING: exitCodes.missing,
  E_ISA: exitCodes.missing,
  E_DEVICE_TIMEOUT: exitCodes.timeout,
  E_INTERRUPTED: exitCodes.interrupted,
};

/** What a finished command has to say: `json` with --json, else `text`. */
export interface Report {
  /** Of a command whose verdict is no; it is printed all the same. Default: done. */
  exitCode?: number;
  json: Readonly<Record<string, unknown>>;
  text: string;
}

/** Ends a command with an exit code of its own; whoever throws it has said everything already. */
export class Exit extends Error {
  readonly code: number;

  constructor(code: number) {
    super(`exit code ${code}`);
    this.code = code;
  }
}

export const wantsJson = (command: Command): boolean => command.optsWithGlobals<{ json?: boolean }>().json === true;

function write(command: Command, stream: 'writeOut' | 'writeErr', line: string): void {
  command.configureOutput()[stream]?.(`${line}\n`);
}

/** A line for people, on stderr, so that stdout stays parseable. */
export function log(command: Command, line: string): void {
  write(command, 'writeErr', line);
}

/** A result in the middle of a command that streams: one JSON object a line with --json, else the text. */
export function emit(command: Command, { json, text }: Report): void {
  write(command, 'writeOut', wantsJson(command) ? JSON.stringify(json) : text);
}

/**
 * Wraps a command's handler into a commander action that prints its report.
 * @example program.command('inspect <file>').action(reporting(async (command, file: string) => ({ json, text })))
 */
export function reporting<A extends unknown[]>(handler: (command: Command, ...values: A) => Promise<Report>): (...values: [...A, Command]) => Promise<void> {
  return async (...values) => {
    const command = values[values.length - 1] as Command;
    const report = await handler(command, ...(values.slice(0, -1) as A));
    emit(command, report);
    if (report.exitCode !== undefined && report.exitCode !== exitCodes.ok) throw new Exit(report.exitCode);
  };
}

function toSternaError(error: unknown): SternaError {
  if (error instanceof SternaError) return error;
  if (error instanceof CommanderError) return new DeployError('E_USAGE', error.message.replace(/^error: /, ''), { cause: error });
  return new DeployError('E_INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}

/** Prints a failure the way that was asked for and returns the exit code. */
export function reportFailure(program: Command, thrown: unknown, json: boolean): number {
  // commander ends --help and --version, which it has printed, by throwing too.
  if (thrown instanceof CommanderError && thrown.exitCode === 0) return exitCodes.ok;
  if (thrown instanceof Exit) return thrown.code;
  const error = toSternaError(thrown);
  if (json) {
    write(program, 'writeOut', JSON.stringify({ error: { code: error.code, message: error.message, details: error.details } }));
  } else if (!(thrown instanceof CommanderError)) {
    write(program, 'writeErr', `sterna: ${error.code}: ${error.message}`);
  }
  if (error.code === 'E_INTERNAL' && error.cause instanceof Error) write(program, 'writeErr', error.cause.stack ?? '');
  return exitCodeOf[error.code] ?? exitCodes.failed;
}
