import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { EngineClient } from './engine.ts';
import { KeyedQueue } from './keyed-queue.ts';
import { MountRoot } from './mount-root.ts';
import { Mounts } from './mounts.ts';
import { Reconciliation } from './reconcile.ts';
import { FakeEngine } from './testing/fake-engine.ts';
import { MemoryBackend } from './testing/memory-backend.ts';
import { QuietLog } from './testing/quiet-log.ts';

describe('reconciliation', () => {
  let folder: string;
  let engine: FakeEngine;
  let backend: MemoryBackend;
  let mounts: Mounts;
  let reconciliation: Reconciliation;
  const log = new QuietLog();
  const openMounts = (): Mounts => new Mounts(join(folder, 'mounts.json'), 'boot', log);
  const assemble = (): Reconciliation => {
    const engineClient = new EngineClient(join(folder, 'docker.sock'), 'holdfast');
    const mountRoot = new MountRoot(join(folder, 'nothing'));
    const queue = new KeyedQueue();
    return new Reconciliation({
      mounts,
      backend,
      engine: engineClient,
      mountRoot,
      host: 'h1',
      queue,
      log,
    });
  };
  const users = (): string[] => [...(backend.volumes.get('v')?.users ?? [])];

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-reconcile-'));
    engine = new FakeEngine(join(folder, 'docker.sock'), 'holdfast');
    await engine.start();
    backend = new MemoryBackend();
    await backend.create('v', {});
    await backend.attach('v', 'h1');
    mounts = openMounts();
    mounts.add('v', 'a');
    reconciliation = assemble();
  });
  afterEach(async () => {
    await reconciliation.close();
    await engine.stop();
    rmSync(folder, { recursive: true });
  });

  it('leaves certain counts alone, used or not', async () => {
    expect(await reconciliation.look()).toBe(true);
    expect(await reconciliation.look()).toBe(true);
    expect([mounts.count('v'), users()]).toEqual([1, ['h1']]);
  });

  it('drops at once the counts of an engine that died, and detaches', async () => {
    mounts.engineChanged();
    expect(await reconciliation.look()).toBe(true);
    expect([mounts.count('v'), users()]).toEqual([0, []]);
  });

  it('keeps the callers of the new engine', async () => {
    mounts.engineChanged();
    mounts.add('v', 'b');
    await reconciliation.look();
    expect([mounts.count('v'), users()]).toEqual([1, ['h1']]);
  });

  it('keeps them under live restore while their container runs', async () => {
    engine.hasLiveRestore = true;
    engine.running.add('v');
    mounts.engineChanged();
    await reconciliation.look();
    await reconciliation.look();
    expect(mounts.count('v')).toBe(1);
    engine.running.clear();
    await reconciliation.look();
    expect(mounts.count('v')).toBe(1);
    await reconciliation.look();
    expect([mounts.count('v'), users()]).toEqual([0, []]);
  });

  it('drops after a restart of the driver what is idle at two looks', async () => {
    mounts = openMounts();
    reconciliation = assemble();
    expect(await reconciliation.look()).toBe(false);
    expect(mounts.count('v')).toBe(1);
    expect(await reconciliation.look()).toBe(true);
    expect([mounts.count('v'), users()]).toEqual([0, []]);
  });

  it('changes nothing while the engine does not answer', async () => {
    mounts.engineChanged();
    await engine.stop();
    expect(await reconciliation.look()).toBe(false);
    expect([mounts.count('v'), users()]).toEqual([1, ['h1']]);
    await engine.start();
  });

  it('makes good later what the cluster could not be told', async () => {
    mounts.release('v', 'a');
    backend.trouble = 'outage';
    expect(await reconciliation.look()).toBe(false);
    backend.trouble = 'none';
    expect(users()).toEqual(['h1']);
    expect(await reconciliation.look()).toBe(true);
    expect(users()).toEqual([]);
  });

  it('attaches what is in use and not recorded, and never touches other hosts', async () => {
    await backend.detach('v', 'h1');
    await backend.attach('v', 'h2');
    await reconciliation.look();
    expect(users()).toEqual(['h2', 'h1']);
    mounts.release('v', 'a');
    await reconciliation.look();
    expect(users()).toEqual(['h2']);
  });

  it('tells of a volume in use here that was released and removed', async () => {
    await reconciliation.look();
    expect(log.events).not.toContain('volume.gone');
    await backend.detach('v', 'h1');
    await backend.remove('v');
    await reconciliation.look();
    expect(log.events).toContain('volume.gone');
    expect(mounts.count('v')).toBe(1);
  });

  it('comes in time, however often it is asked for', async () => {
    mounts.release('v', 'a');
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    try {
      for (let second = 0; second < 4; second++) {
        reconciliation.request();
        await vi.advanceTimersByTimeAsync(1_000);
      }
    } finally {
      vi.useRealTimers();
    }
    await vi.waitFor(() => expect(users()).toEqual([]), { timeout: 10_000 });
  });
});
