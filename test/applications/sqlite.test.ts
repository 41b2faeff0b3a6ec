import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { Acknowledger, command } from './processes.ts';

const WRITER = fileURLToPath(new URL('./sqlite-writer.ts', import.meta.url));

describe('SQLite with synchronous=FULL', () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    await cluster.volume('sqlite');
  });
  afterAll(async () => {
    await cluster?.close();
  });

  /** Kills the writer in the middle and looks at the database on another host. */
  async function killed(file: string, meanwhile: () => Promise<void>): Promise<void> {
    const path = (peer: number): string => join(cluster.peer(peer).mountPath, 'sqlite', file);
    const writer = new Acknowledger(process.execPath, [WRITER, path(0)]);
    await writer.atLeast(50);
    await meanwhile();
    await writer.atLeast(writer.acknowledged.length + 50);
    await writer.kill();
    expect(await command('sqlite3', [path(1), 'PRAGMA integrity_check'])).toBe('ok\n');
    const present = new Set(
      (await command('sqlite3', [path(1), 'SELECT id FROM rows'])).split('\n'),
    );
    expect(writer.acknowledged.filter((id) => !present.has(id))).toEqual([]);
  }

  it('keeps every committed row when the writer is killed', async () => {
    await killed('writer.db', async () => {});
  });

  it('keeps every committed row when a peer is killed under the writer', async () => {
    await killed('peer.db', async () => {
      await cluster.peer(2).killNode();
    });
    cluster.peer(2).startNode();
    await cluster.peer(2).ready();
  });
});
