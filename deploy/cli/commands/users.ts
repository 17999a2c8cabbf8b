import { Option, type Command } from 'commander';
import { addUser, changeUser, readUsers, removeUser, roles, usersFile, type Role } from '../../users/users.js';
import { usersOption } from '../access-options.js';
import { reporting } from '../output.js';
import { newPassword } from '../secret.js';
import { formatTable } from '../table.js';

interface UsersOptions { users?: string }

const roleOption = (): Option => new Option('--role <role>', 'viewer: reads; operator: also changes').choices(roles).makeOptionMandatory();

/** `sterna users`: who may use the operator's page. */
export function register(program: Command): void {
  const users = program
    .command('users')
    .summary('who may use the page of the fleet')
    .description('Keeps the users of `sterna fleet page` in a file with mode 0600, passwords as scrypt hashes. Passwords come from a prompt or from standard input. A page that runs follows the file: sessions of users who were removed, or whose password or role changed, end within a second.');
  const add = (name: string, summary: string, description: string): Command => users.command(name).summary(summary).description(description).addOption(usersOption());
  add('add', 'add a user', 'Adds a user, and asks for the password.').argument('<name>', '1 to 32 lower-case letters, digits, dots, dashes and underlines').addOption(roleOption())
    .action(reporting(async (_self: Command, name: string, { users: file = usersFile(), role }: UsersOptions & { role: Role }) => {
      await addUser(file, { name, role, password: await newPassword() });
      return { json: { file, name, role }, text: `${name} is ${role === 'operator' ? 'an operator' : 'a viewer'} now (${file})` };
    }));
  add('list', 'list the users', 'Prints names and roles.')
    .action(reporting((_self: Command, { users: file = usersFile() }: UsersOptions) => {
      const listed = readUsers(file).map(({ name, role }) => ({ name, role }));
      return Promise.resolve({ json: { file, users: listed }, text: listed.length === 0 ? `There are no users in ${file}: the page asks for no login, and listens on loopback alone` : formatTable([{ title: 'user' }, { title: 'role' }], listed.map(({ name, role }) => [name, role])) });
    }));
  add('remove', 'remove a user', 'Removes a user and ends the sessions. A page that runs stays closed even if nobody is left.').argument('<name>', 'the user')
    .action(reporting(async (_self: Command, name: string, { users: file = usersFile() }: UsersOptions) => {
      await removeUser(file, name);
      return { json: { file, name }, text: `${name} was removed` };
    }));
  add('passwd', 'change a password', 'Asks for a new password, and ends the sessions of the user.').argument('<name>', 'the user')
    .action(reporting(async (_self: Command, name: string, { users: file = usersFile() }: UsersOptions) => {
      await changeUser(file, name, { password: await newPassword() });
      return { json: { file, name }, text: `${name} has a new password` };
    }));
  add('role', 'change a role', 'Changes the role of a user, and ends the sessions.').argument('<name>', 'the user').addOption(roleOption())
    .action(reporting(async (_self: Command, name: string, { users: file = usersFile(), role }: UsersOptions & { role: Role }) => {
      await changeUser(file, name, { role });
      return { json: { file, name, role }, text: `${name} is ${role === 'operator' ? 'an operator' : 'a viewer'} now` };
    }));
}
