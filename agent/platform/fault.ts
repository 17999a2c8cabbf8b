/**
 * Named fault points for the tests of power cuts and of disks that fail. `STERNA_FAULT=name[:n[:CODE]]` acts when the process passes the point of that
 * name for the n-th time (1 by default). Without a code the process is killed, as by a power cut. With ENOSPC, EIO, EROFS or another code of the system,
 * the point throws that error as node:fs would, and it does so each time from then on, because a full disk stays full. Without the variable, a point
 * costs only a comparison.
 */
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

interface Fault {
  name: string;
  /** Passes until it acts. */
  left: number;
  code: string | undefined;
  /** Whether it has acted. */
  reached: boolean;
}

let armed: Fault | null = null;
armFault(process.env['STERNA_FAULT'] ?? '');

/** Sets the one fault of this process; '' sets none. @returns the fault, which says whether it was reached */
export function armFault(spec: string): Readonly<Fault> | null {
  const [name = '', nth = '1', code] = spec.split(':');
  armed = name === '' ? null : { name, left: Number(nth), code, reached: false };
  return armed;
}

export function faultPoint(name: string): void {
  if (armed === null || armed.name !== name) return;
  armed.left -= 1;
  if (armed.left > 0) return;
  armed.reached = true;
  if (armed.code === undefined) process.kill(process.pid, 'SIGKILL');
  else throw systemError(armed.code);
}

function systemError(code: string): Error {
  const errno = -((constants.errno as Readonly<Record<string, number>>)[code] ?? 0);
  const message = `${code}: ${getSystemErrorMap().get(errno)?.[1] ?? 'no error of this system'}, write`;
  return Object.assign(new Error(message), { errno, code, syscall: 'write' });
}
