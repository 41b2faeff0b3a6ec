import type {
  LastBackup,
  LastVerification,
  VolumeNumber,
  VolumePolicy,
  VolumeRecord,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange, RegistryResult } from './cluster-commands.ts';
import type { ClusterState } from './cluster-state.ts';
import { begun } from './testing/registry-bench.ts';

const V = 1 as VolumeNumber;
const at = (hour: number): string => `2026-01-01T${String(hour).padStart(2, '0')}:00:00.000Z`;

/** A registry with one volume, 'v'. */
class Bench {
  readonly #registry = begun();

  constructor() {
    this.try({ op: 'create-volume', name: 'v', policy: {} });
  }

  try(change: RegistryChange): RegistryResult {
    return this.#registry.try(change);
  }

  get state(): ClusterState {
    return this.#registry.state;
  }

  backUp(hour: number, more: Partial<LastBackup> = {}): RegistryResult {
    return this.try({ op: 'note-backup', volume: V, backup: { ...backup(hour), ...more } });
  }

  verify(hour: number, more: Partial<LastVerification> = {}, repository = '/r'): RegistryResult {
    const verification = { at: at(hour), readShare: 1, problems: 0, ...more };
    return this.try({ op: 'note-verification', repository, verification });
  }

  set(policy: Partial<VolumePolicy>): RegistryResult {
    return this.try({ op: 'set-policy', name: 'v', policy });
  }

  get volume(): VolumeRecord | undefined {
    return this.state.volume(V);
  }
}

function backup(hour: number): LastBackup {
  const counts = { files: 3, bytes: 9, bytesRead: 4, bytesSent: 2, tookMs: 7 };
  return { id: 'ab'.repeat(32), at: at(hour), repository: '/r', ...counts };
}

const isChanged = (changed: boolean) => ({ ok: true, answer: { changed } });

describe('the last backup of a volume', () => {
  it('is the one of the latest moment, in whatever order they are told', () => {
    const bench = new Bench();
    for (const [hour, changed] of [
      [5, true],
      [5, false],
      [4, false],
      [6, true],
    ] as const)
      expect(bench.backUp(hour)).toMatchObject(isChanged(changed));
    expect(bench.volume?.lastBackup).toEqual(backup(6));
  });

  it('keeps the verification of its repository, and of no other', () => {
    const bench = new Bench();
    expect(bench.verify(1)).toMatchObject(isChanged(false));
    bench.backUp(2);
    expect(bench.verify(3, {}, '/other')).toMatchObject(isChanged(false));
    expect(bench.verify(3, { problems: 2 })).toMatchObject(isChanged(true));
    expect(bench.verify(2)).toMatchObject(isChanged(false));
    bench.backUp(4);
    expect(bench.volume?.lastVerification).toEqual({ at: at(3), readShare: 1, problems: 2 });
    bench.backUp(5, { repository: '/other' });
    expect(bench.volume).not.toHaveProperty('lastVerification');
  });

  it.each([
    [{ id: 'abc' }, /64 hexadecimal/],
    [{ at: 'yesterday' }, /2026-01-31T/],
    [{ repository: '' }, /1 to 1024/],
    [{ repository: 'x'.repeat(1_025) }, /1 to 1024/],
    [{ bytesRead: -1 }, /bytesRead/],
    [{ files: 0.5 }, /files/],
  ])('is refused with %j', (more, message) => {
    const bench = new Bench();
    const refusal = { ok: false, code: 'BAD_REQUEST', message: expect.stringMatching(message) };
    expect(bench.backUp(1, more)).toMatchObject(refusal);
    expect(bench.volume).not.toHaveProperty('lastBackup');
  });

  it('refuses an odd verification, and a backup of no volume', () => {
    const bench = new Bench();
    for (const odd of [{ readShare: 2 }, { problems: -1 }, { at: '' }])
      expect(bench.verify(1, odd)).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    const gone = { op: 'note-backup', volume: 9 as VolumeNumber, backup: backup(1) } as const;
    expect(bench.try(gone)).toMatchObject({ ok: false, code: 'NOT_FOUND' });
  });
});

describe('the period of backups', () => {
  it('is set, changed and taken away; a clone has none', () => {
    const bench = new Bench();
    expect(bench.set({ backupPeriodMs: 3_600_000 })).toMatchObject(isChanged(true));
    expect(bench.set({ backupPeriodMs: 3_600_000 })).toMatchObject(isChanged(false));
    expect(bench.volume?.policy.backupPeriodMs).toBe(3_600_000);
    expect(bench.try({ op: 'create-volume', name: 'v', policy: {} })).toMatchObject(
      isChanged(false),
    );
    bench.try({ op: 'volume-ready', volume: V });
    const from = { volume: V, snapshot: 's', generation: 1 };
    bench.try({ op: 'create-volume', name: 'clone', policy: {}, from });
    expect(bench.state.volumeNamed('clone')?.record.policy).not.toHaveProperty('backupPeriodMs');
    bench.set({ backupPeriodMs: 0 });
    expect(bench.volume?.policy).not.toHaveProperty('backupPeriodMs');
  });

  it.each([1, 59_999, 0.5, -1, 367 * 86_400_000])('is not %d ms', (backupPeriodMs) => {
    expect(new Bench().set({ backupPeriodMs })).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
  });
});
