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
});
