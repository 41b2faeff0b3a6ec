import type { BackupSource, VolumeNumber, VolumePolicy, VolumeRestore } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange, RegistryResult } from './cluster-commands.ts';
import { begun } from './testing/registry-bench.ts';

const V = 1 as VolumeNumber;
const SOURCE: BackupSource = { repository: 'r', volume: 'v', backup: 'latest' };
const LATER = '2026-01-01T00:00:15.000Z';

/** A registry that knows repository 'r', and a clock. */
class Bench {
  readonly #registry = begun();
  #count = 0;
  time = '2026-01-01T00:00:00.000Z';

  constructor() {
    const repository = { name: 'r', place: '/r', id: 'ab'.repeat(32), hosts: [] };
    const secrets = { password: 'p', credentials: {} };
    this.do({ op: 'put-repository', repository, secrets, replace: false });
  }

  try(change: RegistryChange): RegistryResult {
    return this.#registry.state.apply({ v: 1, id: `b${this.#count++}`, time: this.time, change });
  }

  do(change: RegistryChange): void {
    const result = this.try(change);
    if (!result.ok) throw new Error(`${result.code}: ${result.message}`);
  }

  create(source: BackupSource | undefined, policy: Partial<VolumePolicy> = {}): RegistryResult {
    const restore = source === undefined ? {} : { restore: { source, withPolicy: true } };
    return this.try({ op: 'create-volume', name: 'n', policy, ...restore });
  }

  /** Makes the volume, ready but for its content. */
  made(): this {
    this.create(SOURCE);
    this.do({ op: 'volume-ready', volume: V });
    return this;
  }

  claim(by: string, until = LATER): RegistryResult {
    return this.try({ op: 'claim-restore', volume: V, by, host: 'a', until });
  }

  end(by: string, outcome: 'done' | 'failed' | 'left', trouble?: string): RegistryResult {
    const told = trouble === undefined ? {} : { trouble };
    return this.try({ op: 'end-restore', volume: V, by, outcome, ...told });
  }

  get restore(): VolumeRestore | undefined {
    return this.#registry.state.volume(V)?.restore;
  }
}

const refused = (code: string, message?: RegExp) => ({
  ok: false,
  code,
  ...(message && { message: expect.stringMatching(message) }),
});

describe('a volume that is made from a backup', () => {
  it('needs a repository that is known, and a name of a backup', () => {
    const bench = new Bench();
    expect(bench.create({ ...SOURCE, repository: 'other' })).toMatchObject(
      refused('NOT_FOUND', /no repository 'other'/),
    );
    expect(bench.create({ ...SOURCE, volume: 'a/b' })).toMatchObject(refused('BAD_REQUEST'));
    expect(bench.create({ ...SOURCE, backup: '' })).toMatchObject(refused('BAD_REQUEST'));
    expect(bench.create(SOURCE, { uid: 5 })).toMatchObject(refused('BAD_REQUEST', /leave out uid/));
    const from = { volume: V, snapshot: 's', generation: 1 };
    const restore = { source: SOURCE, withPolicy: true };
    expect(bench.try({ op: 'create-volume', name: 'n', policy: {}, from, restore })).toMatchObject(
      refused('BAD_REQUEST', /not both/),
    );
  });

  it('cannot be attached or cloned before it is filled', () => {
    const bench = new Bench().made();
    const attach = { op: 'attach', name: 'n', host: 'a' } as const;
    expect(bench.try(attach)).toMatchObject({
      ...refused('CONFLICT', /not complete: restoring from r:v/),
      detail: { restoring: true },
    });
    const from = { volume: V, snapshot: 's', generation: 1 };
    const clone = { op: 'create-volume', name: 'c', policy: {}, from } as const;
    expect(bench.try(clone)).toMatchObject(refused('CONFLICT', /not complete/));
    bench.claim('x');
    bench.do({ op: 'end-restore', volume: V, by: 'x', outcome: 'done' });
    bench.do(attach);
    bench.do(clone);
  });

  it('is filled by one at a time, and by another when a claim has run out', () => {
    const bench = new Bench().made();
    expect(bench.claim('x')).toMatchObject({ ok: true });
    expect(bench.claim('y')).toMatchObject(refused('CONFLICT', /being restored by a/));
    expect(bench.claim('x')).toMatchObject({ ok: true });
    const backupId = 'cd'.repeat(32);
    const progress = { files: 1, bytes: 50, bytesExpected: 200 };
    const note = { op: 'note-restore', volume: V, by: 'x', until: LATER } as const;
    bench.do({ ...note, backupId, progress });
    bench.time = LATER;
    bench.do(note); // late, but nobody else has it
    expect(bench.claim('y', '2026-01-01T00:00:30.000Z')).toMatchObject({ ok: true });
    expect(bench.try(note)).toMatchObject(refused('CONFLICT', /somebody else/));
    expect(bench.end('x', 'done')).toMatchObject(refused('CONFLICT'));
    expect(bench.restore).toMatchObject({ backupId, progress, claim: { by: 'y' } });
    bench.end('y', 'left', 'stopped');
    expect(bench.restore).toMatchObject({ state: 'restoring', trouble: 'stopped', backupId });
    expect(bench.restore?.claim).toBeUndefined();
  });

  it('is refused what it cannot be told', () => {
    const bench = new Bench().made();
    const note = { op: 'note-restore', volume: V, by: 'x', until: LATER } as const;
    expect(bench.try(note)).toMatchObject(refused('CONFLICT'));
    bench.claim('x');
    expect(bench.try({ ...note, backupId: 'latest' })).toMatchObject(refused('BAD_REQUEST'));
    const progress = { files: -1, bytes: 0 };
    expect(bench.try({ ...note, progress })).toMatchObject(refused('BAD_REQUEST', /files/));
    bench.do({ ...note, trouble: 'x'.repeat(9_999) });
    expect(bench.restore?.trouble).toHaveLength(512);
    bench.do({ ...note, trouble: '' });
    expect(bench.restore?.trouble).toBeUndefined();
  });

  it('is tried again when it has failed and is asked for once more, and only as the same', () => {
    const bench = new Bench().made();
    bench.claim('x');
    bench.end('x', 'failed', 'no such backup');
    expect(bench.claim('y')).toMatchObject(refused('CONFLICT', /not being restored/));
    expect(bench.create(undefined)).toMatchObject(refused('CONFLICT', /made from r:v/));
    expect(bench.create({ ...SOURCE, backup: 'then' })).toMatchObject(refused('CONFLICT'));
    expect(bench.create(SOURCE)).toMatchObject({ ok: true });
    expect(bench.restore).toMatchObject({ state: 'restoring' });
    expect(bench.restore?.trouble).toBeUndefined();
    expect(bench.claim('y')).toMatchObject({ ok: true });
    bench.end('y', 'done');
    expect(bench.create(SOURCE)).toMatchObject({ ok: true, answer: { changed: false } });
  });

  it('can be removed while it is filled, which the one who fills it hears of', () => {
    const bench = new Bench().made();
    bench.claim('x');
    bench.do({ op: 'begin-remove', name: 'n', force: false });
    const note = { op: 'note-restore', volume: V, by: 'x', until: LATER } as const;
    expect(bench.try(note)).toMatchObject(refused('NOT_FOUND'));
    expect(bench.claim('y')).toMatchObject(refused('CONFLICT'));
  });
});
