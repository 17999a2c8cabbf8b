/** Decides whether a command may be carried out: it must be signed by a role that may give it, for this device, and be valid now. Pure. */
import { isDeepStrictEqual } from 'node:util';
import { commandStatementSchema, MAX_COMMAND_LIFE_MS, SIGNED_FIELDS, type Command, type CommandStatement } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { Identity } from './desired.js';
import { decodeMetadata, type Decoded } from './metadata.js';

/**
 * @param root the director's newest verified root: its `command_roles` are TUF delegations with paths such as `cmd/self-test`
 * @throws AgentError E_TRUST_UNSIGNED, E_TRUST_FORMAT, E_TRUST_COMMAND, E_TRUST_COMMAND_ADDRESS, E_TRUST_COMMAND_EXPIRED
 */
export function verifyCommand(name: string, command: Command, { root, identity, nowMs }: { root: Decoded<'root'>; identity: Pick<Identity, 'fleet' | 'device'>; nowMs: number }): CommandStatement {
  if (command.signed === undefined) throw new AgentError('E_TRUST_UNSIGNED', `Expected the command ${name} with a signature: use --repository, or a key of an operator`);
  const signed = decodeMetadata('targets', 'command', command.signed);
  requireRole(name, root, signed);
  const statement = statementOf(signed);
  const own = statement.fleet === identity.fleet && statement.device === identity.device && statement.command === name;
  if (!own) throw new AgentError('E_TRUST_COMMAND_ADDRESS', `The command was signed as ${statement.command} for ${statement.fleet}/${statement.device}, not as ${name} for ${identity.fleet}/${identity.device}`);
  const same = statement.id === command.id && statement.pipeline === (command.pipeline ?? null) && isDeepStrictEqual(statement.args, command.args);
  if (!same) throw new AgentError('E_TRUST_COMMAND_ADDRESS', `The id, pipeline or arguments of the command ${name} are not those that were signed`);
  requireTime(statement, signed, nowMs);
  return statement;
}

/** Requires at least one role whose paths contain the command, and whose keys reach its threshold. */
function requireRole(name: string, root: Decoded<'root'>, signed: Decoded<'targets'>): void {
  const roles = commandRoles(root);
  const allowed = [...roles?.signed.delegations?.rolesForTarget(`cmd/${name}`) ?? []].map(({ role }) => role);
  for (const role of allowed) {
    try {
      roles?.metadata.verifyDelegate(role, signed.metadata);
      return;
    } catch {
      // The signature may be that of another role.
    }
  }
  throw new AgentError('E_TRUST_COMMAND', `The command ${name} is not signed by a role that may give it (${allowed.join(', ') || 'there is none'})`);
}

/**
 * Reads roles and keys from the root's field `command_roles`, in the form of delegations of targets metadata. Nobody signs that metadata; the root's
 * signatures cover it.
 */
function commandRoles(root: Decoded<'root'>): Decoded<'targets'> | null {
  const delegations = root.signed.unrecognizedFields[SIGNED_FIELDS.commandRoles];
  if (delegations === undefined) return null;
  const { specVersion, version, expires } = root.signed;
  return decodeMetadata('targets', 'command roles', JSON.stringify({ signatures: [], signed: { _type: 'targets', spec_version: specVersion, version, expires, targets: {}, delegations } }));
}

function statementOf({ signed }: Decoded<'targets'>): CommandStatement {
  const text = signed.unrecognizedFields[SIGNED_FIELDS.command];
  try {
    return commandStatementSchema.parse(JSON.parse(typeof text === 'string' ? text : ''));
  } catch (cause) {
    throw new AgentError('E_TRUST_FORMAT', 'The signed command carries no usable statement', { cause });
  }
}

/** Checks the time in the statement. The statement must not be valid for long, so that its nonce need not be remembered for long. */
function requireTime({ issued_ms: issued, expires_ms: expires, command }: CommandStatement, signed: Decoded<'targets'>, nowMs: number): void {
  if (expires - issued > MAX_COMMAND_LIFE_MS || expires > signed.expiresMs + 1000) throw new AgentError('E_TRUST_COMMAND_EXPIRED', `The command ${command} would live for ${Math.round((expires - issued) / 1000)} s; at most ${MAX_COMMAND_LIFE_MS / 1000} s are accepted`);
  if (nowMs >= expires) throw new AgentError('E_TRUST_COMMAND_EXPIRED', `The command ${command} expired ${Math.round((nowMs - expires) / 1000)} s ago`);
}
