// `node beside.mjs '["npm", "ci"]' '["cmake", "--build", "..."]' LOG`: runs the first command, and beside it, at a low priority, the second, whose
// output goes to LOG. It ends when both have, with the exit code of the first: whoever needs the second runs it again, and sees why it failed.
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { setPriority } from 'node:os';
import { dirname } from 'node:path';

const LOW_PRIORITY = 10;

const [[first, ...firstArgs], [second, ...secondArgs]] = process.argv.slice(2, 4).map((words) => JSON.parse(words));
const logFile = process.argv[4];

/** @returns the exit code; 1 when the program did not start, or was ended by a signal */
const ended = (child) => new Promise((end) => {
  child.on('error', (error) => { process.stderr.write(`sterna: ${error.message}\n`); end(1); });
  child.on('close', (code) => end(code ?? 1));
});

mkdirSync(dirname(logFile), { recursive: true });
const log = openSync(logFile, 'w');
const beside = spawn(second, secondArgs, { stdio: ['ignore', log, log], detached: true }); // a group of its own, so that its compilers end with it
closeSync(log);
const besideEnded = ended(beside);
if (beside.pid !== undefined) setPriority(beside.pid, LOW_PRIORITY);
function stopBeside() {
  try {
    if (beside.pid !== undefined) process.kill(-beside.pid);
  } catch {
    // It has ended.
  }
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, stopBeside); // the first command hears of it from the terminal, and ends

process.exitCode = await ended(spawn(first, firstArgs, { stdio: 'inherit', shell: process.platform === 'win32' }));
if (process.exitCode !== 0) stopBeside();
await besideEnded;
