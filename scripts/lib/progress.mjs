// `node progress.mjs LOG LABEL COMMAND ARGUMENT...`: runs a build, whose whole output goes to the file LOG, and says on stderr how far it is: on a
// terminal in one line, else in a few. When the build fails, it shows the end of the output and names LOG.
import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';

/** Share of the work that is done, in percent, as ninja ("[12/112] ...") or make ("[ 10%] ...") says it; undefined when the line says nothing. */
function percentOf(line) {
  const [, done, all, percent] = /^\[(?:(\d+)\/(\d+)|\s*(\d+)%)\]/.exec(line) ?? [];
  if (percent !== undefined) return Number(percent);
  return done === undefined || Number(all) === 0 ? undefined : Math.floor((100 * Number(done)) / Number(all));
}

const [, , logFile, label, command, ...args] = process.argv;
const terminal = process.stderr.isTTY === true;
let shown = 0;

function show(percent) {
  if (percent === undefined || percent <= shown) return;
  if (terminal) process.stderr.write(`\rsterna: ${label}: ${percent} %`);
  else if (Math.floor(percent / 25) > Math.floor(shown / 25)) process.stderr.write(`sterna: ${label}: ${percent} %\n`);
  shown = percent;
}

function fail(what) {
  const last = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-30).join('\n');
  process.stderr.write(`${last}\nsterna: ${label}: ${what}. The whole output is in ${logFile}\n`);
  process.exitCode = 1;
}

mkdirSync(dirname(logFile), { recursive: true });
const log = createWriteStream(logFile);
const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NINJA_STATUS: '[%f/%t] ' } });
let rest = '';
for (const stream of [child.stdout, child.stderr]) {
  stream.on('data', (chunk) => {
    log.write(chunk);
    const lines = (rest + chunk).split('\n');
    rest = lines.pop();
    for (const line of lines) show(percentOf(line));
  });
}
let problem;
child.on('error', (error) => { problem = `${command} did not start (${error.message})`; });
child.on('close', (code, signal) => {
  if (terminal && shown > 0) process.stderr.write('\n');
  log.end(() => {
    if (code !== 0) fail(problem ?? `${command} failed with ${signal ?? `exit code ${code}`}`);
  });
});
