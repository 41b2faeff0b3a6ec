import type { TokenRecord } from '@holdfast/protocol';
import { type Command, Option } from 'commander';
import { contextOf } from '../context.ts';
import { table } from '../output.ts';

/** `holdfast token …` */
export function addToken(program: Command): void {
  const token = program.command('token').description('create, list and revoke join tokens');
  token
    .command('create')
    .description('make a token that admits a host; it is shown once')
    .addOption(
      new Option('--role <role>', 'what its holder may become')
        .choices(['node', 'client', 'admin'])
        .default('node'),
    )
    .option('--expires <duration>', 'such as 30m, 12h or 7d; never by default')
    .action(async (options: { role: string; expires?: string }, command: Command) => {
      const { admin, output } = contextOf(command);
      const made = await admin<{ token: string; id: string }>('POST', '/v1/tokens', options);
      output.result(made, () => [made.token]);
    });
  token
    .command('ls')
    .description('list the tokens, without their secrets')
    .action(async (_options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      const { tokens } = await admin<{ tokens: TokenRecord[] }>('GET', '/v1/tokens');
      output.result(tokens, () =>
        table(
          ['ID', 'ROLE', 'CREATED', 'EXPIRES', 'STATE'],
          tokens.map((t) => [
            t.id,
            t.role,
            t.createdAt,
            t.expiresAt || 'never',
            t.revoked ? 'revoked' : 'valid',
          ]),
        ),
      );
    });
  token
    .command('revoke <id>')
    .description('make a token worthless; hosts that joined with it stay')
    .action(async (id: string, _options: unknown, command: Command) => {
      const { admin, output } = contextOf(command);
      await admin('DELETE', `/v1/tokens/${encodeURIComponent(id)}`);
      output.result({ revoked: id }, () => [`token ${id} revoked`]);
    });
}
