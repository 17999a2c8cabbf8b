import { redact } from '../../runtime/redact.js';

/** The log: JSON lines on stderr (journald keeps them), and the last ones in memory for the `log-tail` command. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** Newest last. */
  tail(lines: number): string[];
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const KEPT_LINES = 200;
const LONGEST_LINE = 2000;

export function createLog(level: LogLevel, write: (line: string) => void = (line) => void process.stderr.write(`${line}\n`)): Log {
  const kept: string[] = [];
  const emit = (at: LogLevel, message: string, fields: Record<string, unknown> = {}): void => {
    if (LEVELS.indexOf(at) < LEVELS.indexOf(level)) return;
    // Before it is cut: half an address cannot be told from a whole one. Also what other programs say of an address ends here.
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
