import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LAUNCHER } from '../cluster/command-line.ts';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { Postgres } from './postgres.ts';
import { Acknowledger, command } from './processes.ts';

const GUIDE = readFileSync(
  fileURLToPath(new URL('../../docs/migration.md', import.meta.url)),
  'utf8',
);
/** Commits on the old machine before each step. */
const COMMITS = 100;

describe('PostgreSQL that moves to another cluster by docs/migration.md', () => {
  let before: LocalCluster;
  let after: LocalCluster;
  let old: Postgres;
  let young: Postgres | undefined;
  let writer: Acknowledger | undefined;
  beforeAll(async () => {
    [before, after] = await Promise.all([
      startLocalCluster({ peers: 1 }),
      startLocalCluster({ peers: 1 }),
    ]);
    const owner = Postgres.owner();
    const options = ['--uid', String(owner.uid), '--gid', String(owner.gid), '--mode', '0700'];
    await before.peer(0).holdfast('volume', 'create', 'db', ...options);
    old = new Postgres(join(before.peer(0).mountPath, 'db', 'data'), owner);
    await old.initialise();
    await old.start();
  });
  afterAll(async () => {
    await writer?.kill();
    await old?.stop();
    await young?.stop();
    await Promise.all([before?.close(), after?.close()]);
  });

  /** Runs a line of the guide, with the two clusters for its two machines; seconds that it took. */
  const step = async (line: string): Promise<number> => {
    expect(GUIDE).toContain(`old1# ${line}\n`);
    const [here, there] = [before, after].map(
      (cluster) => `${LAUNCHER} --data ${cluster.peer(0).dataDirectory}`,
    );
    const script = line
      .replaceAll(/(^|\| )holdfast /g, `$1${here} `)
      .replaceAll('ssh new1 holdfast', there ?? '');
    const startMs = performance.now();
    await command('bash', ['-c', `set -o pipefail; ${script}`]);
    return (performance.now() - startMs) / 1_000;
  };
  const rows = async (server: Postgres): Promise<Set<string>> =>
    new Set((await server.query('SELECT id FROM acknowledged')).split('\n'));

  it('has every transaction that was acknowledged', async () => {
    await old.pgbench(['-i', '-q', '-s', '1']);
    await old.query('CREATE TABLE acknowledged (id bigint PRIMARY KEY, text text)');
    const running = new Acknowledger(...old.interactive());
    writer = running;
    let next = 1;
    const feed = (): void => {
      const row = `(${next++}, repeat('x', 200))`;
      running.child.stdin?.write(`INSERT INTO acknowledged VALUES ${row} RETURNING id;\n`);
    };
    running.child.stdin?.on('error', () => {}); // the server is stopped while we write to it
    running.child.stdout?.on('data', feed);
    feed();
    await running.atLeast(COMMITS);
    await step('holdfast snapshot create db@move-1');
    const first = await step(
      'holdfast volume send db@move-1 | ssh new1 holdfast volume receive db',
    );
    await running.atLeast(running.acknowledged.length + COMMITS);
    await step('holdfast snapshot create db@move-2');
    const since =
      'holdfast volume send db@move-2 --from move-1 | ssh new1 holdfast volume receive db';
    const second = await step(since);
    await running.atLeast(running.acknowledged.length + COMMITS);

    const stoppedMs = performance.now();
    await old.shutDown();
    const stop = (performance.now() - stoppedMs) / 1_000;
    const snapshot = await step('holdfast snapshot create db@move-3');
    const last = await step(
      'holdfast volume send db@move-3 --from move-2 | ssh new1 holdfast volume receive db',
    );
    young = new Postgres(join(after.peer(0).mountPath, 'db', 'data'), Postgres.owner());
    await young.start();
    await young.query("INSERT INTO acknowledged VALUES (0, 'by the new one')");
    const downSeconds = (performance.now() - stoppedMs) / 1_000;
    await running.kill();

    const parts = { first, second, stop, snapshot, last, downtime: downSeconds };
    const seconds = Object.entries(parts).map(([name, value]) => `${name} ${value.toFixed(1)}`);
    console.log(`seconds: ${seconds.join(', ')}; ${running.acknowledged.length} transactions`);
    const present = await rows(young);
    expect(running.acknowledged.filter((id) => !present.has(id))).toEqual([]);
    expect(present).toContain('0');
    expect(await young.query('SELECT count(*) FROM pgbench_accounts')).toBe('100000');
    const files = await command('bash', ['-c', `cd ${join(after.peer(0).mountPath, 'db')}; ls -A`]);
    expect(files.trim()).toBe('data');
  });
});
