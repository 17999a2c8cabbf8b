import { runCli } from '../../../deploy/cli/program.js';

export interface Captured {
  code: number;
  out: string;
  err: string;
}

/** Runs a command line in this process and gives back what it wrote. */
export async function captureCli(argv: readonly string[]): Promise<Captured> {
  let out = '';
  let err = '';
  const code = await runCli(argv, { out: (text) => (out += text), err: (text) => (err += text) });
  return { code, out, err };
}
