import { createInterface } from 'node:readline/promises';
import { text } from 'node:stream/consumers';
import { Writable } from 'node:stream';
import { DeployError } from '../errors.js';

/** A new password: asked for twice at a terminal without showing it, else the first line of standard input. Never from the command line, which other programs can read. @throws DeployError E_USAGE */
export async function newPassword(): Promise<string> {
  if (!process.stdin.isTTY) return (await text(process.stdin)).split(/\r?\n/, 1)[0] ?? '';
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  const ended = new AbortController();
  terminal.once('SIGINT', () => ended.abort());
  const ask = async (prompt: string): Promise<string> => {
    process.stderr.write(prompt);
    const answer = await terminal.question('', { signal: ended.signal }).catch((cause: unknown) => { throw new DeployError('E_INTERRUPTED', 'No password was given', { cause }); });
    process.stderr.write('\n');
    return answer;
  };
  try {
    const first = await ask('Password: ');
    if (first !== await ask('Again: ')) throw new DeployError('E_USAGE', 'The two passwords differ');
    return first;
  } finally {
    terminal.close();
  }
}
