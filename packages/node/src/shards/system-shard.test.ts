import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RegistryChange } from '@holdfast/placement';
import { encode } from '@holdfast/protocol';
import { afterAll, describe, expect, it } from 'vitest';
import { SystemShard } from './system-shard.ts';

const directory = mkdtempSync(join(tmpdir(), 'holdfast-system-shard-'));
afterAll(() => rmSync(directory, { recursive: true }));

let made = 0;
const freshPath = (): string => join(directory, String(made++));

function entry(index: number, change: RegistryChange) {
  const command = { v: 1, id: `c${index}`, time: '2026-01-01T00:00:00.000Z', change };
  return { index, data: encode(command) };
}

const begin = entry(1, {
  op: 'init-cluster',
  clusterId: 'cc',
  name: 'test',
  volumeShards: 2,
  serial: '1',
  node: {
    name: 'a',
    grpcAddress: 'a:1',
    wireAddress: 'a:2',
    adminAddress: 'a:3',
    discoveryAddress: '',
    zone: 'a',
    weight: 1,
    incarnation: '0'.repeat(32),
  },
});
const volume = (index: number) =>
  entry(index, { op: 'create-volume', name: `v${index}`, policy: {} });

async function pieces(stream: AsyncIterable<Uint8Array>, bytes: number): Promise<Uint8Array[]> {
  const whole: Uint8Array[] = [];
  for await (const piece of stream) whole.push(Uint8Array.from(piece));
  const all = Buffer.concat(whole);
  return Array.from({ length: Math.ceil(all.length / bytes) }, (_, i) =>
    all.subarray(i * bytes, (i + 1) * bytes),
  );
}

async function* streamOf(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* parts;
}

describe('the system shard', () => {
  it('answers each entry and goes on after a restart where it was', async () => {
    const path = freshPath();
    const shard = await SystemShard.open(path);
    expect(shard.applied).toBe(0);
    const results = shard.apply([begin, volume(2), { index: 5, data: encode(null) }]);
    expect(results.map((result) => (result.ok ? 'ok' : result.code))).toEqual([
      'ok',
      'ok',
      'BAD_REQUEST',
    ]);
    await shard.close();
    const again = await SystemShard.open(path);
    expect(again.applied).toBe(5);
    expect(again.state.all()).toEqual(shard.state.all());
    await again.close();
  });

  it('after a crash is at a state that it had, and the log leads on to the same', async () => {
    const [path, copy] = [freshPath(), freshPath()];
    const shard = await SystemShard.open(path);
    shard.apply([begin, volume(2)]);
    expect(await shard.flushed()).toBe(2);
    shard.apply([volume(3)]);
    cpSync(path, copy, { recursive: true });
    const crashed = await SystemShard.open(copy);
    expect(crashed.applied).toBe(2);
    crashed.apply([volume(3)]);
    expect(crashed.state.all()).toEqual(shard.state.all());
    await Promise.all([shard.close(), crashed.close()]);
  });

  it('is carried over whole by a snapshot, cut into any pieces, as of the call', async () => {
    const source = await SystemShard.open(freshPath());
    source.apply([begin, volume(2)]);
    const expected = source.state.all();
    const snapshot = source.snapshot();
    source.apply([volume(3)]);
    const path = freshPath();
    const target = await SystemShard.open(path);
    target.apply([begin, volume(2), volume(3), volume(4)]);
    await target.install({ index: 2 }, streamOf(await pieces(snapshot, 1_001)));
    expect(target.state.all()).toEqual(expected);
    // As a crash right now would leave it.
    const copy = freshPath();
    cpSync(path, copy, { recursive: true });
    await target.close();
    const again = await SystemShard.open(copy);
    expect(again.applied).toBe(2);
    expect(again.state.all()).toEqual(expected);
    expect(again.state.volumeNamed('v4')).toBeUndefined();
    await Promise.all([again.close(), source.close()]);
  });

  it('refuses a snapshot that is cut off, and stays as it was', async () => {
    const shard = await SystemShard.open(freshPath());
    shard.apply([begin, volume(2)]);
    const expected = shard.state.all();
    const parts = await pieces(shard.snapshot(), 1_000);
    const install = shard.install({ index: 9 }, streamOf(parts.slice(0, -1)));
    await expect(install).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(shard.applied).toBe(2);
    expect(shard.state.all()).toEqual(expected);
    await shard.close();
  });
});
