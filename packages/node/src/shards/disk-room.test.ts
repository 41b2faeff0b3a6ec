/** State whose disk others fill: it waits in memory, is read as ever, and is written by itself later. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ShardId } from '@holdfast/protocol';
import { encode } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LevelStore } from './level-store.ts';
import { SystemShard } from './system-shard.ts';

const SHARD = 1 as ShardId;
const failures: unknown[] = [];
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'holdfast-room-'));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', directory]);
  failures.length = 0;
});
afterEach(() => {
  execFileSync('umount', [directory]);
  rmSync(directory, { recursive: true });
});

/** Takes all of the disk but 8 MiB; answers how to give it back. */
function fill(): () => void {
  const path = join(directory, 'other');
  const { bavail, bsize } = statfsSync(directory);
  writeFileSync(path, Buffer.alloc(bavail * bsize - 8 * 2 ** 20));
  return () => rmSync(path);
}

function openStore(): Promise<LevelStore> {
  const onFatal = (error: unknown): void => void failures.push(error);
  return LevelStore.open(join(directory, 'state'), { writeBehindMs: 1, onFatal });
}

/** Whether a promise is settled after all that is due now. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const late = Symbol('late');
  const turn = new Promise((resolve) => setTimeout(resolve, 50, late));
  return (await Promise.race([promise, turn])) === late;
}

describe('state on a disk that others fill', () => {
  it('of volume shards waits for room', async () => {
    const store = await openStore();
    const head = await store.openShard(SHARD);
    const giveBack = fill();
    store.stage('key', Buffer.from('value'));
    store.stageHead(SHARD, { ...head, applied: 7 });
    const flushed = store.flush();
    expect(await isPending(flushed)).toBe(true);
    await store.closeShard(SHARD); // which does not wait
    expect(Buffer.from(store.read('key') ?? []).toString()).toBe('value');
    giveBack();
    await flushed;
    await store.close();
    const again = await openStore();
    expect((await again.openShard(SHARD)).applied).toBe(7);
    await again.close();
    expect(failures).toEqual([]);
  });

  it('of volume shards closes without room, as it was', async () => {
    const store = await openStore();
    const head = await store.openShard(SHARD);
    const giveBack = fill();
    store.stageHead(SHARD, { ...head, applied: 7 });
    await store.close();
    giveBack();
    const again = await openStore();
    expect((await again.openShard(SHARD)).applied).toBe(0);
    await again.close();
    expect(failures).toEqual([]);
  });

  it('of the system shard waits for room, and closes without', async () => {
    const path = join(directory, 'system');
    const entry = (index: number) => ({ index, data: encode(null) });
    let shard = await SystemShard.open(path);
    let giveBack = fill();
    shard.apply([entry(1)]);
    const flushed = shard.flushed();
    expect(await isPending(flushed)).toBe(true);
    giveBack();
    expect(await flushed).toBe(1);
    giveBack = fill();
    shard.apply([entry(2)]);
    await shard.close();
    giveBack();
    shard = await SystemShard.open(path);
    expect(shard.applied).toBe(1);
    await shard.close();
  });
});
