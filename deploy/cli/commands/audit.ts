import type { Command } from 'commander';
import { auditFile, openAudit } from '../../users/audit.js';
import { auditOption } from '../access-options.js';
import { integer, positive } from '../options.js';
import { reporting } from '../output.js';
import { formatTable } from '../table.js';

interface AuditOptions { audit?: string; limit: number; days?: number; user?: string }

/** `sterna audit`: what the operator's page has noted. */
export function register(program: Command): void {
  program
    .command('audit')
    .summary('who did what on the page of the fleet')
    .description('Prints the newest entries of the audit log, newest first: logins, failed logins, and everything that was changed or refused on `sterna fleet page`.')
    .addOption(auditOption())
    .option('--limit <n>', 'how many entries', integer(1), 100)
    .option('--days <n>', 'none that are older', positive)
    .option('--user <name>', 'entries of one user')
    .action(reporting((_self: Command, { audit: file = auditFile(), limit, days, user }: AuditOptions) => {
      const log = openAudit(file);
      try {
        const entries = log.list({ limit, ...(days === undefined ? {} : { sinceMs: Date.now() - days * 86_400_000 }), ...(user === undefined ? {} : { user }) });
        const rows = entries.map((entry) => [new Date(entry.time_ms).toISOString(), entry.user ?? 'no login', entry.address, entry.action, entry.target, entry.result]);
        return Promise.resolve({ json: { file, entries }, text: rows.length === 0 ? 'Nothing has been noted.' : formatTable(['when (UTC)', 'who', 'from', 'action', 'of what', 'result'].map((title) => ({ title })), rows) });
      } finally {
        log.close();
      }
    }));
}
