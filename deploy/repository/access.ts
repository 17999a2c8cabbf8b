/** Who may do what on a broker: each device only below its own topics, operators everything. Written for Mosquitto, EMQX and RabbitMQ. */
import { CLIENT_ID_SUFFIX, deviceClientName, deviceTopic, TOPIC_ROOT, requireId, type DeviceAddress } from '../../agent/contracts/index.js';

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

/** A topic without dots as the routing key that RabbitMQ's MQTT plugin makes of it. */
const routingKey = (topic: string): string => topic.replaceAll('/', '.');
const literally = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
/** A level that a subscription leaves open is asked for as `*`, and used as any text. */
const topicsPattern = (topics: readonly string[]): string => `^(${topics.map((topic) => literally(routingKey(topic)).replace(/\\\+/g, '[^.]+')).join('|')})$`;

/**
 * Definitions of RabbitMQ (`load_definitions`): a user without a password for each certificate, what it may do with queues, and the topics that it may
 * use (https://www.rabbitmq.com/docs/access-control), for a listener of the MQTT plugin with `mqtt.ssl_cert_login = true` and
 * `ssl_cert_login_from = common_name`. A user has the queues of its own client id alone. Devices with a dot in the name of device or fleet are left
 * out and cannot log in: in routing keys, levels are separated by dots, and RabbitMQ before version 4 leaves those of names as they are.
 */
export function rabbitmqDefinitions(devices: readonly DeviceAddress[], operators: readonly string[]): string {
  const everything = `^${literally(routingKey(TOPIC_ROOT))}\\..+$`;
  const users = [
    ...operators.map((name) => ({ name: requireId('operator', name), client: '.+', write: everything, read: everything })),
    ...devices.filter((address) => !deviceUser(address).includes('.')).map((address) => ({
      name: deviceUser(address), client: `${literally(deviceClientName(address))}-[0-9a-f]{${CLIENT_ID_SUFFIX}}`,
      write: topicsPattern(WRITES.map((topic) => `${prefixOf(address)}/${topic}`)), read: topicsPattern(READS.map((topic) => `${prefixOf(address)}/${topic}`)),
    })),
  ];
  const vhost = '/';
  return `${JSON.stringify({
    vhosts: [{ name: vhost }],
    users: users.map(({ name }) => ({ name, password_hash: '', hashing_algorithm: 'rabbit_password_hashing_sha256', tags: '' })),
    permissions: users.map(({ name: user, client }) => {
      const queue = `mqtt-subscription-${client}qos[01]`;
      return { user, vhost, configure: `^${queue}$`, write: `^(amq\\.topic|${queue})$`, read: `^(amq\\.topic|${queue})$` };
    }),
    topic_permissions: users.map(({ name: user, write, read }) => ({ user, vhost, exchange: 'amq.topic', write, read })),
  }, null, 2)}\n`;
}

/** What a listener of Mosquitto needs to know its clients by their certificates. */
export function mosquittoListener({ port, ca, cert, key, acl }: { port: number; ca: string; cert: string; key: string; acl: string }): string {
  return [
    `listener ${port}`, `cafile ${ca}`, `certfile ${cert}`, `keyfile ${key}`, 'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', `acl_file ${acl}`, '',
  ].join('\n');
}
