import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Catalogue } from './catalogue.ts';
import { VolumeDriver } from './driver.ts';
import { KeyedQueue } from './keyed-queue.ts';
import { MountRoot } from './mount-root.ts';
import { Mounts } from './mounts.ts';
import { MemoryBackend } from './testing/memory-backend.ts';
import { QuietLog } from './testing/quiet-log.ts';

/** Milliseconds after which the engine gives up a call. */
const ENGINE_MS = 60_000;

class SilentMount extends MountRoot {
  override async requireFolder(volume: string): Promise<string> {
    return `/nowhere/${volume}`;
  }

  override flush(_volume: string, limitMs: number): Promise<void> {
    return new Promise((_, reject) => setTimeout(() => reject(new Error('no answer')), limitMs));
  }
}

describe('calls of the engine', () => {
  let folder: string;
  let driver: VolumeDriver;
  let mounts: Mounts;
  let queue: KeyedQueue;
  let backend: MemoryBackend;
  let unsettled: number;

  beforeEach(() => {
    vi.useFakeTimers();
    folder = mkdtempSync(join(tmpdir(), 'holdfast-driver-'));
    const log = new QuietLog();
    backend = new MemoryBackend();
    backend.trouble = 'silence';
    unsettled = 0;
    mounts = new Mounts(join(folder, 'mounts.json'), 'boot', log);
    queue = new KeyedQueue();
    driver = new VolumeDriver({
      backend,
      catalogue: new Catalogue(backend, join(folder, 'volumes.json'), log),
      mounts,
      mountRoot: new SilentMount('/nowhere'),
      host: 'h1',
      queue,
      log,
      onUnsettled: () => {
        unsettled += 1;
      },
    });
  });
  afterEach(() => {
    vi.useRealTimers();
    rmSync(folder, { recursive: true });
  });

  it.each([
    ['Create', () => driver.create('v', { size: '1G' })],
    ['Mount', () => driver.mount('v', 'c1')],
    ['Unmount', () => driver.unmount('v', 'c1')],
    ['Remove', () => driver.remove('v')],
  ])(
    'end before it gives up when nothing answers: %s, also behind others for the same volume',
    async (call, act) => {
      if (call === 'Unmount') mounts.add('v', 'c1');
      let ended = 0;
      const end = (): void => {
        ended += 1;
      };
      const before = queue.run('v', () => new Promise((resolve) => setTimeout(resolve, 25_000)));
      const calls = [before, act(), act()].map((one: Promise<unknown>) => one.then(end, end));
      await vi.advanceTimersByTimeAsync(ENGINE_MS - 5_000);
      expect(ended).toBe(calls.length);
    },
  );

  it('see that a volume in use here was released from this host', async () => {
    backend.trouble = 'none';
    await backend.create('v', {});
    await backend.attach('v', 'h1');
    mounts.add('v', 'c1');
    await driver.get('v');
    expect(unsettled).toBe(0);
    await backend.detach('v', 'h1');
    await driver.get('v');
    await driver.list();
    expect(unsettled).toBe(2);
    mounts.release('v', 'c1');
    await driver.get('v');
    expect(unsettled).toBe(2);
  });

  const filling = (hasFailed: boolean, isClaimed: boolean): void => {
    const text = hasFailed ? 'restore failed: no such backup' : 'restoring, 43 %';
    const unfilled = { text, hasFailed, isClaimed };
    Object.assign(backend.volumes.get('v') ?? {}, { unfilled });
  };
  const fills = (): number => backend.calls.filter((call) => call === 'fill v').length;

  it('make a volume from a backup at once, and wait for it in time for the engine', async () => {
    backend.trouble = 'none';
    await driver.create('v', { 'from-backup': 'r:v@then' });
    expect(backend.calls).toContain('restore v r:v@then');
    expect(fills()).toBe(1);
    filling(false, true);
    const early = driver.mount('v', 'c1').catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(ENGINE_MS - 5_000);
    expect(await early).toMatchObject({
      code: 'EBUSY',
      message: expect.stringMatching(/restoring, 43 %; ask again later/),
    });
    expect(fills()).toBe(1);
    const late = driver.mount('v', 'c1');
    await vi.advanceTimersByTimeAsync(1_000);
    filling(false, false); // who filled it has died
    await vi.advanceTimersByTimeAsync(1_000);
    expect(fills()).toBeGreaterThan(1);
    Object.assign(backend.volumes.get('v') ?? {}, { unfilled: undefined });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await late).toBe('/nowhere/v');
    expect(mounts.count('v')).toBe(1);
  });

  it('tell at once why a volume could not be filled', async () => {
    backend.trouble = 'none';
    await driver.create('v', { 'from-backup': 'r:v' });
    filling(true, false);
    await expect(driver.mount('v', 'c1')).rejects.toMatchObject({
      code: 'CONFLICT',
      message: expect.stringMatching(/no such backup; create it again .* or remove it/),
    });
    expect(mounts.count('v')).toBe(0);
    await driver.remove('v');
  });
});
