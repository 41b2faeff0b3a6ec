import {
  INTERNAL_SESSION,
  type InodeNumber,
  type LockRequest,
  RECEIVES_AT,
  RECEIVING_NAME,
  RESTORES_AT,
  ROOT_INODE,
  type SessionId,
  STAGE_PREFIX,
  type VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { LossyShard } from '../testing/lossy-shard.ts';

const FILLER = '00000000000000aa' as SessionId;
const DUE_MS = Date.parse('2026-11-23T20:00:00Z');
const NAMES = {
  'a receive': RECEIVING_NAME,
  'an import': `${STAGE_PREFIX}0a`,
  'an import that moves up': `${STAGE_PREFIX}0a-complete`,
};

/** A volume with a snapshot of when it was whole, and somebody who fills it. */
class Filled extends LossyShard {
  #sequence = 1;

  constructor() {
    super();
    this.do({ op: 'create-snapshot', name: 'whole' });
    const by = { session: FILLER, volume: 0 as VolumeNumber };
    this.do({ op: 'open-session', host: 'h' }, 1n, by);
  }

  make(name: string): InodeNumber {
    const owner = { uid: 0, gid: 0, rdev: 0, target: '', exclusive: true } as const;
    const entry = { parent: ROOT_INODE, name, kind: 'directory', mode: 0o700, ...owner } as const;
    const by = { session: FILLER, sequence: ++this.#sequence };
    const { attributes } = this.do({ op: 'create', ...entry }, 1n, by);
    return attributes?.ino as InodeNumber;
  }

  remove(name: string): void {
    const by = { session: FILLER, sequence: ++this.#sequence };
    this.do({ op: 'rmdir', parent: ROOT_INODE, name }, 1n, by);
  }

  lock(type: LockRequest['type'], at: number | InodeNumber, family: LockRequest['family']): void {
    const range =
      family === 'flock' ? { start: 0, end: Number.MAX_SAFE_INTEGER } : { start: at, end: at + 1 };
    const lock = { family, type, ...range, owner: '1', pid: 0 } as LockRequest;
    const ino = family === 'flock' ? (at as InodeNumber) : ROOT_INODE;
    const by = { session: FILLER, sequence: ++this.#sequence };
    this.do({ op: 'set-lock', ino, lock }, 1n, by);
  }

  get names(): Promise<readonly string[]> {
    return this.snapshots.list('v').then((all) => all.map(({ name }) => name));
  }
}

const half = (message: RegExp): object => ({
  code: 'CONFLICT',
  message: expect.stringMatching(message),
  detail: { filling: true },
});

describe('a volume that is half filled', () => {
  it.each([
    [RECEIVING_NAME, RECEIVES_AT, /is receiving a change.*when that has ended/, /killed; run/],
    [`${STAGE_PREFIX}0a`, 'flock', /being filled by an import/, /killed; do it again, or remove/],
    [`${STAGE_PREFIX}0a-complete`, 'flock', /being filled/, /killed; do it again, or remove/],
  ] as const)(
    'by what makes %s is neither snapshotted nor rolled back',
    async (name, at, alive, dead) => {
      const shard = new Filled();
      const ino = shard.make(name);
      const lock: [number, LockRequest['family']] = at === 'flock' ? [ino, 'flock'] : [at, 'posix'];
      shard.lock('write', ...lock);
      const { snapshots, record } = shard;
      const tries = [
        () => snapshots.create('v', 's'),
        () => snapshots.createScheduled(record, DUE_MS),
        () => snapshots.rollBack('v', 'whole', { force: true }),
      ];
      for (const attempt of tries) await expect(attempt()).rejects.toMatchObject(half(alive));
      expect(await snapshots.whyHalf(record)).toMatch(alive);
      shard.lock('unlock', ...lock);
      await expect(snapshots.create('v', 's')).rejects.toMatchObject(half(dead));
      expect(await shard.names).toEqual(['whole']);
      // Who died left it like that: rolling back is the way out.
      await snapshots.rollBack('v', 'whole', { force: false });
      expect(await snapshots.whyHalf(record)).toBeUndefined();
      await snapshots.create('v', 's');
    },
  );

  it('by a restore is neither, until the restore has ended', async () => {
    const shard = new Filled();
    const { snapshots, record } = shard;
    shard.lock('write', RESTORES_AT, 'posix');
    const why = /being restored into volume 'v'; try again/;
    await expect(snapshots.create('v', 's')).rejects.toMatchObject(half(why));
    const back = snapshots.rollBack('v', 'whole', { force: true });
    await expect(back).rejects.toMatchObject(half(why));
    shard.lock('unlock', RESTORES_AT, 'posix');
    await snapshots.createScheduled(record, DUE_MS);
    expect(await shard.names).toHaveLength(2);
  });

  it('from a backup is not snapshotted before it is complete', async () => {
    const shard = new Filled();
    const source = { repository: 'r', volume: 'v', backup: 'latest' };
    const facts = { source, since: '', withPolicy: true, asked: {} };
    shard.restore = {
      ...facts,
      state: 'restoring',
      progress: { files: 1, bytes: 1, bytesExpected: 4 },
    };
    const why = /not complete: restoring, 25 % from r:v; try again when it is/;
    await expect(shard.snapshots.create('v', 's')).rejects.toMatchObject(half(why));
    shard.restore = { ...facts, state: 'failed' };
    const failed = half(/restore failed from r:v; ask for the volume again/);
    await expect(shard.snapshots.create('v', 's')).rejects.toMatchObject(failed);
    shard.restore = { ...facts, state: 'done' };
    await shard.snapshots.create('v', 's');
  });

  it('lets who fills it take snapshots; those that show it are no beginning for anything', async () => {
    const shard = new Filled();
    const { snapshots } = shard;
    for (const [what, name] of Object.entries(NAMES)) {
      const snapshot = what.replaceAll(' ', '-');
      shard.make(name);
      await snapshots.create('v', snapshot, { byFiller: true });
      shard.remove(name);
      const used = { code: 'CONFLICT', message: expect.stringMatching(/was being filled when/) };
      await expect(snapshots.origin('v', snapshot)).rejects.toMatchObject(used);
      const back = snapshots.rollBack('v', snapshot, { force: true });
      await expect(back).rejects.toMatchObject(used);
    }
    expect(await snapshots.origin('v', 'whole')).toMatchObject({ generation: 1 });
  });

  it('from the moment of its snapshot on loses that again', async () => {
    const shard = new Filled();
    const { snapshots, record } = shard;
    const begin = (): void => {
      shard.before = () => {};
      shard.make(RECEIVING_NAME);
    };
    shard.before = begin;
    await expect(snapshots.create('v', 's')).rejects.toMatchObject(half(/killed/));
    shard.remove(RECEIVING_NAME);
    shard.before = begin;
    await expect(snapshots.createScheduled(record, DUE_MS)).rejects.toMatchObject(half(/killed/));
    expect(await shard.names).toEqual(['whole']);
    // As if a leader had died before it looked.
    shard.do({ op: 'create-snapshot', name: 'auto-2026-11-23T20-00Z' }, 1n, {
      session: INTERNAL_SESSION,
    });
    shard.remove(RECEIVING_NAME);
    await expect(snapshots.createScheduled(record, DUE_MS)).rejects.toMatchObject(
      half(/try again/),
    );
    expect(await shard.names).toEqual(['whole']);
    await snapshots.createScheduled(record, DUE_MS);
  });
});
