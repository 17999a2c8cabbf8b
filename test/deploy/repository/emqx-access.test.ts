/** The ACL file for EMQX, read by Erlang and evaluated by the rules of EMQX: what each user can do there. */
import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deviceTopic, type DeviceAddress, type DeviceTopic } from '../../../agent/contracts/index.js';
import { deviceUser, emqxAcl, mosquittoAcl } from '../../../deploy/repository/access.js';
import { temporaryFolder } from '../../agent/support/tools.js';

const erlangMissing = spawnSync('escript', [join(import.meta.dirname, 'none')]).error !== undefined;

/** Names that a careless pattern or prefix would take for each other. */
const DEVICES: DeviceAddress[] = [
  { fleet: 'test', device: 'door' }, { fleet: 'test', device: 'door2' }, { fleet: 'test', device: 'do.r' }, { fleet: 'test', device: 'a-_.Z9' }, { fleet: 'te.t', device: 'door' },
];
const OPERATORS = ['operator', 'op.rator'];
const STRANGERS = ['stranger', 'test', 'test/gate', 'door', 'operator2', 'operators', 'opXrator', 'test/doXr', 'teXt/door', 'test/door/', 'sterna', '+', '#', ''];

const WRITTEN: DeviceTopic[] = [
  { kind: 'status' }, { kind: 'caps' }, { kind: 'reported' }, { kind: 'telemetry' }, { kind: 'event', type: 'finding' }, { kind: 'res', id: 'r1' }, { kind: 'ota_get' },
];
const READ: DeviceTopic[] = [{ kind: 'desired', pipeline: 'main' }, { kind: 'cmd', name: 'rollback' }, { kind: 'ota_block', digest8: 'abababab', index: 7 }];

interface Question { user: string; action: 'publish' | 'subscribe'; topic: string }

function answers(acl: string, questions: readonly Question[]): string[] {
  const file = join(temporaryFolder(), 'acl.conf');
  writeFileSync(file, acl);
  const input = questions.map(({ user, action, topic }) => `${user}\t${action}\t${topic}\n`).join('');
  return execFileSync('escript', [join(import.meta.dirname, 'emqx-authorizer.escript'), file], { input, encoding: 'utf8' }).trim().split('\n');
}

const below = (address: DeviceAddress, rest: string): string => `sterna/v2/${deviceUser(address)}/${rest}`;
const topicsOf = (address: DeviceAddress, topics: readonly DeviceTopic[]): string[] => topics.map((topic) => deviceTopic(address, topic));
/** Subscriptions that reach further than one topic of a device. */
const WIDE = ['#', '+/#', 'sterna/#', 'sterna/v2/#', 'sterna/v2/+/#', 'sterna/v2/+/+/#', 'sterna/v2/test/#', 'sterna/v2/test/+/cmd/+', 'sterna/v2/+/door/cmd/+', 'sterna/+/test/door/desired/+', '$SYS/#'];

/** Everything that anybody could ask for, of every device. */
function questions(): Question[] {
  const publish = [...DEVICES.flatMap((address) => topicsOf(address, [...WRITTEN, ...READ])), ...DEVICES.flatMap((address) => [below(address, 'status/x'), below(address, 'event'), below(address, '')]), '$SYS/brokers', 'sterna/v2', '$delayed/1/sterna/v2/test/door/cmd/rollback'];
  const subscribe = [...publish, ...WIDE, ...DEVICES.flatMap((address) => ['#', '+', 'reported', 'desired/+', 'cmd/+', 'ota/block/+/+', 'cmd/#', 'ota/#', '+/+'].map((rest) => below(address, rest)))];
  return [...DEVICES.map(deviceUser), ...OPERATORS, ...STRANGERS].flatMap((user) => [
    ...publish.map((topic) => ({ user, action: 'publish' as const, topic })), ...subscribe.map((topic) => ({ user, action: 'subscribe' as const, topic })),
  ]);
}

/** What the design allows, said without the lists that the ACL is written from. */
function allowed({ user, action, topic }: Question): boolean {
  if (OPERATORS.includes(user)) return /^sterna\/v2(\/|$)/.test(topic);
  const own = DEVICES.find((address) => deviceUser(address) === user);
  if (own === undefined) return false;
  if (action === 'publish') return topicsOf(own, WRITTEN).includes(topic);
  // "cmd/#" is more than the daemon asks for, and nothing of anybody else's.
  return [...topicsOf(own, READ), ...['desired/+', 'cmd/+', 'cmd/#', 'ota/block/+/+'].map((rest) => below(own, rest))].includes(topic);
}

describe(erlangMissing ? 'the access list for EMQX (skipped: erlang-base is not installed)' : 'the access list for EMQX', () => {
  it.skipIf(erlangMissing)('OTA-123: lets a device read and write its own topics only, and nobody but an operator publish as one', () => {
    const asked = questions();
    const said = answers(emqxAcl(DEVICES, OPERATORS), asked);
    expect(said).toHaveLength(asked.length);
    expect(new Set(said)).toEqual(new Set(['allow', 'deny'])); // the last rule answers what no other does, whatever authorization.no_match says
    const wrong = asked.filter((question, i) => (said[i] === 'allow') !== allowed(question));
    expect(wrong).toEqual([]);
    const others = asked.filter(({ user, topic }, i) => said[i] === 'allow' && !OPERATORS.includes(user) && !topic.startsWith(`sterna/v2/${user}/`));
    expect(others).toEqual([]);
  }, 60_000);

  it.skipIf(erlangMissing)('is taken by Erlang without devices too, and then nobody but the operators can do anything', () => {
    expect(answers(emqxAcl([], ['operator']), [
      { user: 'operator', action: 'publish', topic: 'sterna/v2/test/door/cmd/rollback' }, { user: 'test/door', action: 'publish', topic: 'sterna/v2/test/door/status' }, { user: 'operator', action: 'subscribe', topic: '#' },
    ])).toEqual(['allow', 'deny', 'deny']);
  }, 60_000);

  it('refuses names that could end a term or a line', () => {
    for (const name of ['a"}', 'a b', 'a\nb', 'a/b', '../a', '', '${clientid}', '+', '#']) {
      expect(() => emqxAcl([], [name]), name).toThrow();
      expect(() => emqxAcl([{ fleet: 'test', device: name }], []), name).toThrow();
      expect(() => emqxAcl([{ fleet: name, device: 'door' }], []), name).toThrow();
      expect(() => mosquittoAcl([{ fleet: 'test', device: name }], [name]), name).toThrow();
    }
  });
});
