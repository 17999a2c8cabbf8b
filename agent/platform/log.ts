import { redact } from '../../runtime/redact.js';

/** The log. It writes JSON lines to stderr, which journald keeps, and keeps the last ones in memory for the command `log-tail`. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** The last lines, newest last. */
  tail(lines: number): string[];
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const KEPT_LINES = 200;
const LONGEST_LINE = 2000;

export function createLog(level: LogLevel, write: (line: string) => void = (line) => void process.stderr.write(`${line}\n`)): Log {
  const kept: string[] = [];
  const emit = (at: LogLevel, message: string, fields: Record<string, unknown> = {}): void => {
    if (LEVELS.indexOf(at) < LEVELS.indexOf(level)) return;
    // Addresses with passwords are redacted before the line is cut, because half an address cannot be recognized. This also covers addresses in the
    // messages of other programs.
    const line = redact(JSON.stringify({ time: new Date().toISOString(), level: at, message, ...fields })).slice(0, LONGEST_LINE);
    kept.push(line);
    if (kept.length > KEPT_LINES) kept.shift();
    write(line);
  };
  return {
    debug: (message, fields) => emit('debug', message, fields),
    info: (message, fields) => emit('info', message, fields),
    warn: (message, fields) => emit('warn', message, fields),
    error: (message, fields) => emit('error', message, fields),
    tail: (lines) => kept.slice(-Math.max(0, lines)),
  };
}
