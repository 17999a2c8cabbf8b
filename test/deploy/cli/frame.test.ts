import { Command, CommanderError } from 'commander';
import { describe, expect, it } from 'vitest';
import { emit, exitCodes, log, reportFailure, reporting } from '../../../deploy/cli/output.js';
import { runCli } from '../../../deploy/cli/program.js';
import { DeployError } from '../../../deploy/errors.js';
import { RuntimeError } from '../../../runtime/errors.js';
import { captureCli } from './capture.js';

describe('sterna', () => {
  it('lists its commands and exit codes', async () => {
    const { code, out, err } = await captureCli(['--help']);
    expect(code).toBe(0);
    expect(err).toBe('');
    for (const word of ['compress', 'bench', 'compare', 'Exit codes:', '--json']) expect(out).toContain(word);
  });

  it('tells its version', async () => {
    expect((await captureCli(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it.each([
    ['an unknown command', ['frobnicate'], /frobnicate/],
    ['an unknown option', ['bench', 'm.onnx', '--fast'], /--fast/],
    ['a missing argument', ['bench'], /model\.onnx/],
    ['a missing option', ['compress', 'm.onnx'], /--output/],
    ['a value that is no number', ['bench', 'm.onnx', '--runs', 'many'], /integer of at least 1 but received many/],
    ['an unknown engine', ['bench', 'm.onnx', '--engine', 'abacus'], /native, onnxruntime but received abacus/],
    ['a zero deviation', ['compare', 'm.onnx', '--std', '0'], /other than zero/],
  ])('refuses %s with exit code 2', async (_, argv, message) => {
    const text = await captureCli(argv);
    expect(text.code).toBe(2);
    expect(text.err).toMatch(message);
    expect(text.out).toBe('');
    const json = await captureCli([...argv, '--json']);
    expect(json.code).toBe(2);
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'E_USAGE', message: expect.stringMatching(message) as string } });
  });

  it('says that a file is not there with exit code 3', async () => {
    const text = await captureCli(['bench', '/nowhere/model.onnx']);
    expect(text).toMatchObject({ code: 3, out: '' });
    expect(text.err).toMatch(/^sterna: E_FILE: \/nowhere\/model\.onnx cannot be read/);
    const json = await captureCli(['--json', 'bench', '/nowhere/model.onnx']);
    expect(json).toMatchObject({ code: 3, err: '' });
    expect(JSON.parse(json.out)).toMatchObject({ error: { code: 'E_FILE', details: { path: '/nowhere/model.onnx' } } });
  });

  it('runs two command lines in one process without mixing them up', async () => {
    const [a, b] = await Promise.all([captureCli(['--version']), captureCli(['frobnicate'])]);
    expect([a.code, b.code]).toEqual([0, 2]);
  });
});

describe('output', () => {
  function program(): { command: Command; out: string[]; err: string[] } {
    const out: string[] = [];
    const err: string[] = [];
    const command = new Command('t').option('--json').exitOverride().configureOutput({ writeOut: (t) => out.push(t), writeErr: (t) => err.push(t) });
    return { command, out, err };
  }

  it('prints a report as text, or as one line of JSON', async () => {
    for (const argv of [['go', 'x'], ['go', 'x', '--json']]) {
      const { command, out } = program();
      command.command('go <name>').action(reporting(async (self, name: string) => {
        log(self, 'working');
        return { json: { name }, text: `hello ${name}` };
      }));
      await command.parseAsync(argv, { from: 'user' });
      expect(out).toEqual([argv.length === 3 ? '{"name":"x"}\n' : 'hello x\n']);
    }
  });

  it('keeps logs off stdout', () => {
    const { command, out, err } = program();
    log(command, 'note');
    emit(command, { json: {}, text: 'result' });
    expect([out, err]).toEqual([['result\n'], ['note\n']]);
  });

  it.each([
    [new RuntimeError('E_MODEL_OP', 'm'), exitCodes.input],
    [new RuntimeError('E_ENGINE_MISSING', 'm'), exitCodes.missing],
    [new DeployError('E_OUTPUT', 'm'), exitCodes.failed],
    [new CommanderError(1, 'commander.unknownOption', 'error: m'), exitCodes.usage],
    [new CommanderError(0, 'commander.help', ''), exitCodes.ok],
    [new TypeError('a defect'), exitCodes.failed],
  ])('maps %s to its exit code', (error, code) => {
    expect(reportFailure(program().command, error, false)).toBe(code);
  });

  it('shows the stack of a defect on stderr, and its code in JSON', () => {
    const { command, out, err } = program();
    reportFailure(command, new TypeError('a defect'), true);
    expect(JSON.parse(out.join(''))).toEqual({ error: { code: 'E_INTERNAL', message: 'a defect', details: {} } });
    expect(err.join('')).toContain('frame.test.ts');
  });
});

describe('runCli', () => {
  it('never throws', async () => {
    await expect(runCli(['compare', '/nowhere'], { out: () => undefined, err: () => undefined })).resolves.toBe(3);
  });
});
