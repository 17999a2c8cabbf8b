/** Attacks on commands, mounted by a broker that an attacker controls. The ids are those of agent/trust/RULES.md. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { CommandStatement } from '../../../agent/contracts/index.js';
import { signCommand } from '../../../deploy/repository/director.js';
import { openSigner, readKey } from '../../../deploy/repository/keys.js';
import { TrustBench } from './bench.js';
import { ADDRESS, SignedFleet } from './fleet.js';

function statement(bench: TrustBench, over: Partial<CommandStatement> = {}): CommandStatement {
  return { ...ADDRESS, command: 'log-tail', id: randomUUID(), pipeline: null, args: { lines: 5 }, issued_ms: bench.nowMs, expires_ms: bench.nowMs + 60_000, ...over };
}

const signer = (fleet: SignedFleet, name: string): ReturnType<typeof openSigner> => openSigner(join(fleet.folder, 'keys', `${name}.json`), () => undefined);

describe('commands', () => {
  it('OTA-050: a command without the signature of a role that may give it is refused', async () => {
    const bench = await TrustBench.start();
    const good = statement(bench);
    expect(await bench.command(good, undefined)).toMatchObject({ ok: false, code: 'E_TRUST_UNSIGNED' });
    expect(await bench.command(good, signCommand(good, [signer(new SignedFleet(), 'operator-1')]))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND' });
    // The director's own key says what runs; it gives no commands.
    expect(await bench.command(good, signCommand(good, [signer(bench.fleet, 'director-1')]))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND' });
    expect(await bench.command(good, bench.fleet.director.command(good))).toMatchObject({ ok: true });
  });

  it('OTA-051: a role gives only the commands that the root allows it, with its threshold of keys', async () => {
    const fleet = new SignedFleet();
    const keys = ['reader-1', 'both-1', 'both-2'].map((name) => fleet.key(name));
    fleet.repository.commandRole('operator', { keys: keys.slice(1), threshold: 2, commands: ['rollback'] });
    fleet.repository.commandRole('reader', { keys: keys.slice(0, 1), threshold: 1, commands: ['log-tail', 'rebirth'] });
    const bench = await TrustBench.start({ fleet });
    const [read, back] = [statement(bench), statement(bench, { command: 'rollback', args: {} })];
    expect(await bench.command(read, signCommand(read, [signer(fleet, 'reader-1')]))).toMatchObject({ ok: true });
    expect(await bench.command(back, signCommand(back, [signer(fleet, 'reader-1')]))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND' });
    expect(await bench.command(back, signCommand(back, [signer(fleet, 'both-1')]))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND' });
    expect(await bench.command(back, signCommand(back, [signer(fleet, 'both-1'), signer(fleet, 'both-2')]))).toMatchObject({ ok: false, code: 'E_OTA_NO_PREVIOUS' });
    const old = statement(bench);
    expect(await bench.command(old, signCommand(old, [signer(fleet, 'operator-1')]))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND' });
    expect(readKey(join(fleet.folder, 'keys', 'operator-1.json')).kept).toBe('plain');
  });

  it('OTA-052: a command for another device, or changed on its way, is refused', async () => {
    const bench = await TrustBench.start();
    for (const over of [{ device: 'other' }, { fleet: 'other' }]) {
      const foreign = statement(bench, over);
      expect(await bench.command(foreign, bench.fleet.director.command(foreign))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_ADDRESS' });
    }
    const good = statement(bench);
    const signed = bench.fleet.director.command(good);
    expect(await bench.command(good, signed, { args: { lines: 200 } })).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_ADDRESS' });
    expect(await bench.command(good, signed, { name: 'rollback' })).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_ADDRESS' });
    expect(await bench.command(good, signed, { id: 'another' })).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_ADDRESS' });
    expect(await bench.command(good, signed)).toMatchObject({ ok: true });
  });

  it('OTA-053: an expired command is refused, and so is one that would live for long', async () => {
    const bench = await TrustBench.start();
    const old = statement(bench);
    const signed = bench.fleet.director.command(old);
    bench.nowMs += 61_000;
    expect(await bench.command(old, signed)).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_EXPIRED' });
    const long = statement(bench, { expires_ms: bench.nowMs + 3_600_000 });
    expect(await bench.command(long, bench.fleet.director.command(long))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_EXPIRED' });
  });

  it('OTA-054: a command is carried out once, however often it arrives, also after a restart', async () => {
    const bench = await TrustBench.start();
    const once = statement(bench, { command: 'self-test', args: {} });
    const signed = bench.fleet.director.command(once);
    const carriedOut = (): number => Number((bench.agent.status()['counters'] as Record<string, number>)['commands_total'] ?? 0);
    const first = await bench.command(once, signed);
    expect(first).toMatchObject({ ok: true });
    expect(await bench.command(once, signed)).toEqual(first);
    expect(carriedOut()).toBe(1);
    await bench.agent.stop();
    await bench.boot();
    expect(await bench.command(once, signed)).toEqual(first);
    expect(carriedOut()).toBe(0);
    const other = statement(bench, { command: 'bench', id: once.id, args: {} });
    expect(await bench.command(other, bench.fleet.director.command(other))).toMatchObject({ ok: false, code: 'E_TRUST_COMMAND_REPLAYED' });
  });

  it('OTA-055: strangers cannot push the answers to operators out of the memory of the device', async () => {
    const bench = await TrustBench.start();
    const good = statement(bench);
    const signed = bench.fleet.director.command(good);
    const first = await bench.command(good, signed);
    for (let i = 0; i < 40; i++) await bench.side.client.publishAsync('sterna/v2/test/door/cmd/log-tail', JSON.stringify({ schema_version: 2, id: `stranger-${i}`, args: {} }), { qos: 1 });
    await new Promise((resolve) => { setTimeout(resolve, 300); });
    const before = bench.side.responses.filter(({ id }) => id === good.id).length;
    await bench.command(good, signed).catch(() => undefined);
    expect(bench.side.responses.filter(({ id }) => id.startsWith('stranger-')).length).toBeLessThanOrEqual(8);
    expect(bench.side.responses.filter(({ id }) => id === good.id).length).toBeGreaterThan(before);
    expect(bench.side.responses.findLast(({ id }) => id === good.id)).toEqual(first);
  });
});
