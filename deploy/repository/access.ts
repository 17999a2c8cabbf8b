/** Who may do what on a broker: each device only below its own topics, operators everything. Written for Mosquitto and EMQX. */
import { deviceTopic, TOPIC_ROOT, requireId, type DeviceAddress } from '../../agent/contracts/index.js';

/** Common name of a device's certificate, and its user name at the broker. */
export function deviceUser({ fleet, device }: DeviceAddress): string {
  return `${requireId('fleet', fleet)}/${requireId('device', device)}`;
}

/** Topics below the device that it writes, and those that it reads. */
const WRITES = ['status', 'caps', 'reported', 'telemetry', 'event/+', 'res/+', 'ota/get'] as const;
const READS = ['desired/+', 'cmd/+', 'ota/block/+/+'] as const;

function prefixOf(address: DeviceAddress): string {
  return deviceTopic(address, { kind: 'status' }).replace(/\/status$/, '');
}

/**
 * An ACL file of Mosquitto (`acl_file`), for a listener with `require_certificate true` and `use_identity_as_username true`.
 * @param operators common names of certificates that may read and write everything
 */
export function mosquittoAcl(devices: readonly DeviceAddress[], operators: readonly string[]): string {
  const rules = devices.flatMap((address) => [
    '', `user ${deviceUser(address)}`,
    ...WRITES.map((topic) => `topic write ${prefixOf(address)}/${topic}`),
    ...READS.map((topic) => `topic read ${prefixOf(address)}/${topic}`),
  ]);
  return [
    '# Written by sterna provision. What is not allowed here is refused.',
    ...operators.flatMap((name) => ['', `user ${requireId('operator', name)}`, `topic readwrite ${TOPIC_ROOT}/#`]), ...rules, '',
  ].join('\n');
}

/**
 * `acl.conf` of EMQX 5 (file authorizer, Erlang terms; https://docs.emqx.com/en/emqx/latest/access-control/authz/file.html), for listeners of which each wants a
 * certificate, with `mqtt.peer_cert_as_username = cn`. The first rule that fits decides, so the last one refuses what no other allows.
 */
export function emqxAcl(devices: readonly DeviceAddress[], operators: readonly string[]): string {
  const rule = (user: string, action: string, topics: readonly string[]): string => `{allow, {username, "${user}"}, ${action}, [${topics.map((topic) => `"${topic}"`).join(', ')}]}.`;
  return [
    '%% Written by sterna provision. What is not allowed here is refused.',
    ...operators.map((name) => rule(requireId('operator', name), 'all', [`${TOPIC_ROOT}/#`])),
    ...devices.flatMap((address) => [
      rule(deviceUser(address), 'publish', WRITES.map((topic) => `${prefixOf(address)}/${topic}`)),
      rule(deviceUser(address), 'subscribe', READS.map((topic) => `${prefixOf(address)}/${topic}`)),
    ]),
    '{deny, all}.', '',
  ].join('\n');
}

/** What a listener of Mosquitto needs to know its clients by their certificates. */
export function mosquittoListener({ port, ca, cert, key, acl }: { port: number; ca: string; cert: string; key: string; acl: string }): string {
  return [
    `listener ${port}`, `cafile ${ca}`, `certfile ${cert}`, `keyfile ${key}`, 'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', `acl_file ${acl}`, '',
  ].join('\n');
}
