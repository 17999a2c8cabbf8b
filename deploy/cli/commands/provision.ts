import type { Command } from 'commander';
import { join } from 'node:path';
import { redact } from '../../../runtime/redact.js';
import { DeployError } from '../../errors.js';
import { Authority, provision } from '../../repository/certificates.js';
import { devicesText, parseLabels } from '../../rollout/spec.js';
import { integer, repeated } from '../options.js';
import { reporting } from '../output.js';
import { addRepositoryOption, openRepository } from '../signing-options.js';

interface ProvisionOptions { repository?: string; fleet: string; broker: string; days: number; request: boolean; operator: string[]; label: string[]; access?: string }

export function register(program: Command): void {
  addRepositoryOption(program
    .command('provision')
    .summary('give a device its certificate and the roots that it trusts')
    .description('Makes a folder for one device: key, certificate of the fleet\'s own authority, the pinned roots of the repository, and a configuration that uses them. Also writes access lists for Mosquitto, EMQX and RabbitMQ, by which each device can use only its own topics. The first call makes the authority, and certificates for the broker and the operators.')
    .argument('<device>', 'name of the device')
    .requiredOption('--fleet <name>', 'its fleet')
    .requiredOption('--broker <url>', 'address of the broker, such as mqtts://broker.example.org:8883')
    .option('--days <n>', 'how long certificates are valid', integer(1), 825)
    .option('--request', 'write a certificate request (device.csr) for your own authority instead of a certificate', false)
    .option('--operator <name>', 'common name of a certificate that may use all topics; may be repeated; default: operator', repeated, [])
    .option('--label <name=value>', 'what the device is, such as ring=canary; may be repeated', repeated, [])
    .option('--access <folder>', 'authority, device folders and access lists; default: access/ in the repository'))
    .action(reporting((_self: Command, device: string, options: ProvisionOptions) => {
      const host = brokerHost(options.broker);
      const repository = openRepository({ ...options, signingKey: [] });
      const access = options.access ?? join(repository.folder.path, 'access');
      const roots = { image: repository.folder.rootText('image') ?? '', director: repository.folder.rootText('director') ?? '' };
      repository.root('image');
      repository.root('director');
      const operators = options.operator.length === 0 ? ['operator'] : options.operator;
      const authority = new Authority(join(access, 'authority'));
      for (const name of operators) authority.ensure(name, options.days);
      authority.ensureServer(host, options.days);
      const done = provision(access, { fleet: options.fleet, device }, { roots, broker: options.broker, days: options.days, request: options.request, operators, labels: parseLabels(options.label) });
      const text = [`${done.folder}: put it on the device as its configuration folder`, ...(done.csr === null ? [] : [`${done.csr}: have it signed with the common name ${options.fleet}/${device}, and save the certificate as device.pem beside it`]), `${access}: mosquitto.acl, emqx-acl.conf and rabbitmq-definitions.json for ${devicesText(done.devices.length)}`].join('\n');
      return Promise.resolve({ json: { folder: done.folder, csr: done.csr, access, devices: done.devices }, text });
    }));
}

/** The name in the certificate of the broker. @throws DeployError E_USAGE for an address that is none, or that certificates are of no use for */
function brokerHost(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (parsed === null || parsed.hostname === '' || !['mqtts:', 'wss:', 'ssl:'].includes(parsed.protocol)) {
    throw new DeployError('E_USAGE', `--broker: expected mqtts://host[:port] or wss://host[:port]/path, because devices log in with certificates, but received ${JSON.stringify(redact(url))}`);
  }
  return parsed.hostname.replace(/^\[(.*)\]$/, '$1');
}
