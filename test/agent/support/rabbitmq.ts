/** A real RabbitMQ that knows its clients by their certificates, as deploy/README.md says. */
import { onTestFinished } from 'vitest';
import { rabbitmqMissing as missing, startRabbitmq } from '../../../deploy/bench/fleet/rabbitmq.js';
import { temporaryFolder } from './tools.js';

export const rabbitmqMissing = missing();

export interface RabbitmqFiles { ca: string; cert: string; key: string; definitions: string }

/** @throws DeployError with the end of its output when it does not begin to listen */
export async function rabbitmqBroker(port: number, { ca, cert, key, definitions }: RabbitmqFiles): Promise<void> {
  const { stop } = await startRabbitmq({
    folder: temporaryFolder(), port, plugins: ['rabbitmq_mqtt', 'rabbitmq_auth_mechanism_ssl'],
    config: [
      `mqtt.listeners.ssl.default = 127.0.0.1:${port}`, 'mqtt.allow_anonymous = false', 'mqtt.ssl_cert_login = true', 'ssl_cert_login_from = common_name', `ssl_options.cacertfile = ${ca}`,
      `ssl_options.certfile = ${cert}`, `ssl_options.keyfile = ${key}`, 'ssl_options.verify = verify_peer', 'ssl_options.fail_if_no_peer_cert = true', `load_definitions = ${definitions}`,
    ],
  });
  onTestFinished(stop);
}
