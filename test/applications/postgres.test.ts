import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { Postgres } from './postgres.ts';
import { Acknowledger } from './processes.ts';

const BENCH_SECONDS = 15;
/** Milliseconds into the benchmark at which a peer dies. */
const KILL_AFTER_MS = 5_000;

describe('PostgreSQL on a volume', () => {
  let cluster: LocalCluster;
  let postgres: Postgres;
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    const owner = Postgres.owner();
    const options = ['--uid', String(owner.uid), '--gid', String(owner.gid), '--mode', '0700'];
    await cluster.peer(0).holdfast('volume', 'create', 'pg', ...options);
    postgres = new Postgres(join(cluster.peer(0).mountPath, 'pg', 'data'), owner);
    await postgres.initialise();
    await postgres.start();
  });
  afterAll(async () => {
    await postgres?.stop();
    await cluster?.close();
  });

  it('loses no transaction of pgbench when a peer is killed in the middle', async () => {
    await postgres.pgbench(['-i', '-q', '-s', '1']);
    const bench = postgres.pgbench(['-T', String(BENCH_SECONDS), '-c', '4', '-n', '-r']);
    const killed = new Promise<void>((resolve, reject) => {
      setTimeout(() => {
        cluster.peer(2).killNode().then(resolve, reject);
      }, KILL_AFTER_MS);
    });
    const report = await bench;
    await killed;
    const processed = /number of transactions actually processed: (\d+)/.exec(report)?.[1];
    expect(Number(processed)).toBeGreaterThan(0);
    expect(report).toContain('number of failed transactions: 0');
    expect(await postgres.query('SELECT count(*) FROM pgbench_history')).toBe(processed);
    const sums =
      'SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history)';
    expect(await postgres.query(sums)).toBe('t');
    cluster.peer(2).startNode();
    await cluster.peer(2).ready();
  });

  it('finds every committed row after a crash of the server', async () => {
    await postgres.query('CREATE TABLE acknowledged (id bigint PRIMARY KEY, text text)');
    const writer = new Acknowledger(...postgres.interactive());
    let next = 1;
    const feed = (): void => {
      writer.child.stdin?.write(
        `INSERT INTO acknowledged VALUES (${next}, repeat('x', 200)) RETURNING id;\n`,
      );
      next++;
    };
    writer.child.stdin?.on('error', () => {}); // psql is killed while we write to it
    writer.child.stdout?.on('data', feed);
    feed();
    await writer.atLeast(200);
    await postgres.crash();
    await writer.kill();
    await postgres.start();
    const present = new Set((await postgres.query('SELECT id FROM acknowledged')).split('\n'));
    expect(writer.acknowledged.filter((id) => !present.has(id))).toEqual([]);
  });
});
