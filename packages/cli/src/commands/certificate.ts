import { certificateLife, loadIdentity } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { connectToCluster, contextOf } from '../context.ts';

const DAY_MS = 86_400_000;

/** `holdfast certificate …` */
export function addCertificate(program: Command): void {
  const certificate = program
    .command('certificate')
    .description("show this host's certificate and renew it");
  certificate
    .command('show')
    .description('how long the certificate is valid')
    .action(async (_options: unknown, command: Command) => {
      const { output, dataDirectory } = contextOf(command);
      const { name, role, tls } = await loadIdentity(dataDirectory);
      const validity = validityOf(tls.cert);
      output.result({ name, role, ...validity }, () => [
        `certificate of ${role} '${name}': ${validity.daysLeft} days left, until ${validity.validUntil}`,
      ]);
    });
  certificate
    .command('renew')
    .description(
      'get a new certificate when two thirds of its life are over; peers do so themselves',
    )
    .action(async (_options: unknown, command: Command) => {
      const { output, dataDirectory } = contextOf(command);
      const renewed = await renewHere(dataDirectory);
      const validity = validityOf((await loadIdentity(dataDirectory)).tls.cert);
      output.result({ renewed, ...validity }, () => [
        `${renewed ? 'renewed' : 'not due yet'}: valid until ${validity.validUntil}`,
      ]);
    });
}

async function renewHere(dataDirectory: string): Promise<boolean> {
  const client = await connectToCluster(dataDirectory);
  try {
    if (client.cluster.identity.role === 'node') {
      const message =
        "a peer renews its certificate by itself while 'holdfast node' runs; start it";
      throw new HoldfastError('CONFLICT', message);
    }
    const { renewClient } = await import('@holdfast/node');
    const up = client.cluster.map.nodes.filter(({ state }) => state === 'up');
    const addresses = up.map(({ grpcAddress }) => grpcAddress);
    return await renewClient(dataDirectory, addresses, Date.now());
  } finally {
    await client.close();
  }
}

/** For `--json` too. */
function validityOf(pem: string): { validUntil: string; daysLeft: number } {
  const { untilMs } = certificateLife(pem);
  const daysLeft = Math.floor((untilMs - Date.now()) / DAY_MS);
  return { validUntil: new Date(untilMs).toISOString(), daysLeft };
}
