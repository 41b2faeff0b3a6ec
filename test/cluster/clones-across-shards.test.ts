import { createHash, randomBytes } from 'node:crypto';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { check, partialShadows } from '@holdfast/metadata';
import type { ShardId } from '@holdfast/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LevelState } from '../../packages/node/src/shards/level-state.ts';
import { LevelStore } from '../../packages/node/src/shards/level-store.ts';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';

/** More by the environment: the tree that is cloned. */
const DIRECTORIES = Number(process.env['HOLDFAST_CLONE_DIRECTORIES'] ?? 12);
const FILES = 10;
const BIG_MIB = Number(process.env['HOLDFAST_CLONE_MIB'] ?? 24);
const MiB = 1024 * 1024;
const SHARDS = [1 as ShardId, 2 as ShardId];

const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** A volume in one shard, and clones of it in the other, used through the mounts of three hosts. */
describe('a clone in another shard', { timeout: 300_000 }, () => {
  let cluster: LocalCluster;
  /** What the clone has to show: digests by path. */
  const shown = new Map<string, string>();
  const at = (host: number, ...names: string[]): string =>
    join(cluster.peer(host).mountPath, ...names);
  const holdfast = (...args: string[]): Promise<string> => cluster.peer(0).holdfast(...args);
  const write = async (volume: string, path: string, bytes: Uint8Array): Promise<void> => {
    await fs.writeFile(at(0, volume, path), bytes);
    if (volume === 'c') shown.set(path, digestOf(bytes));
  };
  /** All files below a directory of a volume, with their digests. */
  const treeOf = async (host: number, ...below: string[]): Promise<Map<string, string>> => {
    const found = new Map<string, string>();
    const root = at(host, ...below);
    const entries = await fs.readdir(root, { recursive: true, withFileTypes: true });
    for (const entry of entries.filter((one) => one.isFile())) {
      const path = join(entry.parentPath, entry.name);
      found.set(path.slice(root.length + 1), digestOf(await fs.readFile(path)));
    }
    return found;
  };
  const sorted = (tree: ReadonlyMap<string, string>): [string, string][] =>
    [...tree].sort(([a], [b]) => (a < b ? -1 : 1));

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3 });
    await until('three members of each shard', async () => {
      const { shards } = JSON.parse(await holdfast('--json', 'status')) as {
        shards: { members: unknown[] }[];
      };
      return shards.every(({ members }) => members.length === 3);
    });
    await holdfast('volume', 'create', 'v', '--shard', '1');
    await cluster.volume('v');
    await write('v', 'big', randomBytes(BIG_MIB * MiB));
    for (let d = 0; d < DIRECTORIES; d++) {
      await fs.mkdir(at(0, 'v', `d${d}`));
      const files = Array.from({ length: FILES }, (_, f) =>
        write('v', `d${d}/f${f}`, randomBytes(1 + ((d * 31 + f) % 7) * 9000)),
      );
      await Promise.all(files);
    }
  });
  afterAll(async () => {
    await cluster?.close();
  });

  it('is written at once, while its volume goes on, its snapshot goes, and leaders die', async () => {
    for (const [path, digest] of await treeOf(0, 'v')) shown.set(path, digest);
    await holdfast('snapshot', 'create', 'v@s');
    await holdfast('volume', 'create', 'c', '--from', 'v@s', '--shard', '2');
    await until('the clone is seen', async () => (await fs.readdir(at(0))).includes('c'));
    // Nothing is copied yet, or little.
    await write('c', 'd3/new', Buffer.from('new'));
    await write('c', 'd5/f5', Buffer.from('over'));
    await fs.rm(at(0, 'c', 'd4', 'f4'));
    shown.delete('d4/f4');
    await fs.rename(at(0, 'c', 'd6', 'f6'), at(0, 'c', 'd7', 'moved'));
    shown.set('d7/moved', shown.get('d6/f6') ?? '');
    shown.delete('d6/f6');
    await expect(fs.writeFile(at(0, 'c', 'd8', 'f8'), 'x', { flag: 'wx' })).rejects.toMatchObject({
      code: 'EEXIST',
    });
    const big = await fs.open(at(0, 'c', 'big'), 'r+');
    await big.write(Buffer.from('changed'), 0, 7, MiB + 5);
    await big.sync();
    await big.close();
    shown.set('big', digestOf(await fs.readFile(at(1, 'c', 'big'))));

    // The volume itself loses all of it, and the snapshot its name.
    await holdfast('snapshot', 'rm', 'v@s');
    const killed = await cluster.leaderOf('v');
    await killed.killNode();
    await fs.rm(at(0, 'v', 'd0'), { recursive: true });
    await write('v', 'big', randomBytes(MiB));
    killed.startNode();
    await killed.ready();
    await write('c', 'd9/while', Buffer.from('one leader died'));
    const second = await cluster.leaderOf('c');
    const reading = treeOf(2, 'c');
    await second.killNode();
    await write('c', 'd10/while', Buffer.from('the other one died'));
    await reading.catch(() => {}); // of both times; each file was whole
    second.startNode();
    await second.ready();
    for (const host of [0, 1, 2]) expect(sorted(await treeOf(host, 'c'))).toEqual(sorted(shown));
  });

  it('is snapshotted, cloned there and back, and rolled back like any other', async () => {
    await holdfast('snapshot', 'create', 'c@then');
    const before = sorted(shown);
    await holdfast('volume', 'create', 'near', '--from', 'c@then');
    await holdfast('volume', 'create', 'back', '--from', 'c@then', '--shard', '1');
    await write('c', 'd1/later', Buffer.from('later'));
    await fs.rm(at(0, 'c', 'd2'), { recursive: true });
    for (const volume of ['near', 'back']) {
      await until('it is seen', async () => (await fs.readdir(at(1))).includes(volume));
      await fs.writeFile(at(1, volume, 'd1', 'f1'), volume);
      await fs.rm(at(1, volume, 'd1', 'f1'));
      const rest = before.filter(([path]) => path !== 'd1/f1');
      expect(sorted(await treeOf(1, volume))).toEqual(rest);
    }
    expect(sorted(await treeOf(2, 'c', '.snapshots', 'then'))).toEqual(before);
    await holdfast('snapshot', 'rollback', 'c@then', '--force');
    expect(sorted(await treeOf(0, 'c'))).toEqual(before);
    const { from, shard } = JSON.parse(await holdfast('--json', 'volume', 'inspect', 'back')) as {
      from: object;
      shard: number;
    };
    expect({ from, shard }).toMatchObject({ from: { volumeName: 'c', shard: 2 }, shard: 1 });
  });

  it('keeps its volume from being removed until it is gone, and leaves nothing behind', async () => {
    await expect(holdfast('volume', 'rm', 'v', '--force')).rejects.toThrow(/has clones/);
    for (const volume of ['near', 'back', 'c', 'v']) {
      await holdfast('volume', 'rm', volume, '--force');
    }
    // What the shards have on disk, of a peer that has stopped.
    const [peer] = cluster.peers;
    await peer?.stopMount();
    await peer?.stopNode();
    const store = await LevelStore.open(join(peer?.dataDirectory ?? '', 'state', 'volumes'));
    for (const shard of SHARDS) {
      const state = await LevelState.open(store, shard);
      expect(await check(state)).toEqual([]);
      expect(await partialShadows(state)).toEqual([]);
    }
    await store.close();
  });
});
