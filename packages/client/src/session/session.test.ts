import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { apply, MemoryState, type ViewRequest, view } from '@holdfast/metadata';
import {
  type Command,
  type CommandResult,
  HoldfastError,
  INTERNAL_SESSION,
  type Operation,
  type RequestContext,
  ROOT_INODE,
  type SessionId,
  type ShardId,
  type VolumeNumber,
} from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { CallOutcome } from '../cluster/cluster.ts';
import { FileJournal, MemoryJournal, type RequestJournal } from './journal.ts';
import { Session } from './session.ts';

const ADDRESS = { shard: 1 as ShardId, volume: 1 as VolumeNumber };

/** The real state machine behind the door that a session calls. */
class Shard {
  readonly state = new MemoryState();
  /** Commands other than those that open sessions, as they came. */
  readonly commands: Command[] = [];
  /** Called before a command is applied. */
  before: (command: Command) => Promise<void> = async () => {};
  #sequence = 1;

  constructor() {
    const policy = { mode: 0o755, uid: 0, gid: 0, quotaBytes: 0, quotaInodes: 0 };
    this.internal({ op: 'init-volume', name: 'v', ...policy }, ADDRESS.volume);
  }

  internal(operation: Operation, volume = 0 as VolumeNumber): void {
    const numbers = { sequence: this.#sequence, answeredBelow: 0, timeNs: BigInt(this.#sequence) };
    const command = { v: 1, session: INTERNAL_SESSION, ...numbers, volume, operation } as const;
    this.#sequence += 1;
    const result = apply(this.state, command);
    if (!result.ok) throw new HoldfastError('INTERNAL', `the shard refuses: ${result.code}`);
  }

  expire(expired: SessionId): void {
    this.internal({ op: 'expire-session', expired });
  }

  callLeader = async <T>(
    _shard: ShardId,
    method: string,
    header: unknown,
  ): Promise<CallOutcome<T>> => {
    if (method === 'meta.view') {
      const answer = await view(this.state, header as ViewRequest);
      return { header: answer as T, retried: false };
    }
    if (method !== 'meta.execute') return { header: {} as T, retried: false };
    const { command } = header as { command: Command };
    // As the decoder of commands does.
    if (command.sequence < 1) throw new HoldfastError('BAD_REQUEST', "'sequence' is from 1");
    if (command.operation.op !== 'open-session') {
      this.commands.push(command);
      await this.before(command);
    }
    const result: CommandResult = apply(this.state, command);
    return { header: result as T, retried: false };
  };
}

function create(name: string): Operation {
  const none = { rdev: 0, target: '', uid: 0, gid: 0 };
  return {
    op: 'create',
    parent: ROOT_INODE,
    name,
    kind: 'file',
    mode: 0o644,
    exclusive: true,
    ...none,
  };
}

function request(requestId: number): RequestContext {
  return { uid: 0, gid: 0, pid: 0, requestId };
}

describe('Session', () => {
  let shard: Shard;
  let directory: string;
  let expired: number;
  let rolledBack: (volume: VolumeNumber) => Promise<void>;
  const sessions: Session[] = [];

  beforeEach(() => {
    shard = new Shard();
    directory = mkdtempSync(join(tmpdir(), 'holdfast-session-'));
    expired = 0;
    rolledBack = async () => {};
  });
  afterEach(() => {
    for (const session of sessions.splice(0)) session.abandon();
    rmSync(directory, { recursive: true });
  });

  function begin(journal: RequestJournal): Session {
    const session = new Session({
      cluster: shard,
      journal,
      host: 'h',
      onNotice: () => {},
      onExpired: () => {
        expired += 1;
      },
      onRolledBack: async (volume) => {
        await rolledBack(volume);
      },
      nowNs: () => 1n,
    });
    sessions.push(session);
    return session;
  }

  /** A session of an earlier process that was killed: it took nothing back and told nobody. */
  function killed(session: Session): Session {
    sessions.splice(sessions.indexOf(session), 1);
    return session;
  }

  it('answers a request that an earlier process had executed, with the answer of then', async () => {
    const first = killed(begin(new FileJournal(directory)));
    const answer = await first.execute(ADDRESS, create('f'), request(8));
    const second = begin(new FileJournal(directory));
    expect(await second.execute(ADDRESS, create('f'), request(8))).toEqual(answer);
    await expect(second.execute(ADDRESS, create('f'), request(10))).rejects.toMatchObject({
      code: 'EEXIST',
    });
  });

  it('counts from above 0 when an earlier process ended before its first request', async () => {
    const { id } = killed(begin(new FileJournal(directory)));
    const second = begin(new FileJournal(directory));
    expect(await second.execute(ADDRESS, create('f'), request(2))).toMatchObject({ created: true });
    expect(second.id).toBe(id);
  });

  it('forgets a request once it is answered, and what nobody asks for again after a restart', async () => {
    const first = killed(begin(new FileJournal(directory)));
    for (const id of [2, 4, 6]) await first.execute(ADDRESS, create(`f${id}`), request(id));
    first.answered(2);
    const second = begin(new FileJournal(directory));
    await second.execute(ADDRESS, create('g'), request(8));
    const [, ofFour, ofSix] = shard.commands.map(({ sequence }) => sequence);
    expect(shard.commands.at(-1)?.answeredBelow).toBe(ofFour);
    second.resumed((id) => id === 6);
    await second.execute(ADDRESS, create('h'), request(10));
    expect(shard.commands.at(-1)?.answeredBelow).toBe(ofSix);
    expect(await second.execute(ADDRESS, create('f6'), request(6))).toMatchObject({
      created: true,
    });
  });

  it('keeps nothing of requests that are never repeated', async () => {
    const session = begin(new FileJournal(directory));
    for (let n = 0; n < 300; n += 1) await session.execute(ADDRESS, create(`f${n}`), request(0));
    const sequences = shard.commands.map(({ sequence }) => sequence);
    expect(new Set(sequences).size).toBe(300);
    expect(shard.commands.at(-1)?.answeredBelow).toBe(sequences.at(-1));
  });

  it('begins anew when it ended while its process was dead', async () => {
    const first = killed(begin(new FileJournal(directory)));
    await first.execute(ADDRESS, create('f'), request(2));
    first.answered(2);
    shard.expire(first.id);
    const second = begin(new FileJournal(directory));
    expect(second.id).toBe(first.id);
    expect(await second.execute(ADDRESS, create('g'), request(4))).toMatchObject({ created: true });
    expect(second.id).not.toBe(first.id);
    expect(expired).toBe(1);
  });

  it('does not guess whether a request was executed before it ended', async () => {
    const first = killed(begin(new FileJournal(directory)));
    await first.execute(ADDRESS, create('f'), request(2));
    shard.expire(first.id);
    const second = begin(new FileJournal(directory));
    await expect(second.execute(ADDRESS, create('f'), request(2))).rejects.toMatchObject({
      code: 'UNKNOWN_OUTCOME',
    });
    expect(await second.execute(ADDRESS, create('g'), request(4))).toMatchObject({ created: true });
  });

  it('executes in the new session all that the end of the old one kept out', async () => {
    const session = begin(new MemoryJournal());
    await session.execute(ADDRESS, create('before'), request(2));
    session.answered(2);
    const old = session.id;
    const bothSent = Promise.withResolvers<void>();
    let sent = 0;
    shard.before = async () => {
      sent += 1;
      if (sent === 2) bothSent.resolve();
      if (sent <= 2) await bothSent.promise;
      if (sent === 2) shard.expire(old);
      sent += sent === 2 ? 1 : 0;
    };
    const both = [4, 6].map((id) => session.execute(ADDRESS, create(`f${id}`), request(id)));
    expect(await Promise.all(both)).toMatchObject([{ created: true }, { created: true }]);
    expect(expired).toBe(1);
  });

  it('looks again in the new session when the old one has ended', async () => {
    const session = begin(new MemoryJournal());
    const look = { view: 'lookup', parent: ROOT_INODE, name: 'f' } as const;
    await session.execute(ADDRESS, create('f'), request(2));
    const old = session.id;
    shard.expire(old);
    expect(await session.view(ADDRESS, look)).toMatchObject({ attributes: { kind: 'file' } });
    expect(session.id).not.toBe(old);
    expect(expired).toBe(1);
  });

  it('is not begun again for each use when it has ended for good', async () => {
    const session = begin(new MemoryJournal());
    session.abandon();
    await expect(session.execute(ADDRESS, create('f'), request(2))).rejects.toBeInstanceOf(
      HoldfastError,
    );
  });

  describe('when the volume was rolled back', () => {
    const back = (keep: string): Operation => ({ op: 'rollback-volume', snapshot: 's', keep });
    const touch = { op: 'set-attributes', ino: ROOT_INODE, mtime: 'now' } as const;
    const acknowledged = (): number =>
      shard.commands.filter(({ operation }) => operation.op === 'acknowledge-rollback').length;

    beforeEach(() => {
      shard.internal({ op: 'create-snapshot', name: 's' }, ADDRESS.volume);
    });

    it('has what was open made void before it acknowledges, once for all that were refused', async () => {
      const session = begin(new MemoryJournal());
      await session.execute(ADDRESS, touch, request(8));
      shard.internal(back('k'), ADDRESS.volume);
      const heard: number[] = [];
      rolledBack = async () => void heard.push(acknowledged());
      const refused = [16, 24, 32].map((id) => session.execute(ADDRESS, touch, request(id)));
      for (const one of refused) await expect(one).rejects.toMatchObject({ code: 'ROLLED_BACK' });
      expect([heard, acknowledged(), session.era(ADDRESS.volume)]).toEqual([[0], 1, 1]);
      await session.execute(ADDRESS, touch, request(40));
    });

    it('looks again by itself, for a look changes nothing', async () => {
      const session = begin(new MemoryJournal());
      const look = { view: 'attributes', ino: ROOT_INODE } as const;
      await session.view(ADDRESS, look);
      shard.internal(back('k'), ADDRESS.volume);
      expect((await session.view(ADDRESS, look)).attributes.ino).toBe(ROOT_INODE);
      expect([acknowledged(), session.era(ADDRESS.volume)]).toEqual([1, 1]);
    });

    it('sends nothing any more that was begun before', async () => {
      const session = begin(new MemoryJournal());
      const era = session.era(ADDRESS.volume);
      await session.execute(ADDRESS, touch, request(8), { era });
      shard.internal(back('k'), ADDRESS.volume);
      await session.view(ADDRESS, { view: 'attributes', ino: ROOT_INODE });
      const sent = shard.commands.length;
      const late = session.execute(ADDRESS, touch, request(16), { era });
      await expect(late).rejects.toMatchObject({ code: 'ROLLED_BACK' });
      expect(shard.commands.length).toBe(sent);
    });

    it('does not take a refusal that comes late for another rollback', async () => {
      const session = begin(new MemoryJournal());
      await session.execute(ADDRESS, touch, request(8));
      shard.internal(back('k'), ADDRESS.volume);
      const held = Promise.withResolvers<void>();
      shard.before = async ({ operation }) => {
        if (operation.op === 'create') await held.promise;
      };
      const late = session.execute(ADDRESS, create('late'), request(16));
      await session.view(ADDRESS, { view: 'attributes', ino: ROOT_INODE });
      held.resolve();
      await expect(late).rejects.toMatchObject({ code: 'ROLLED_BACK' });
      expect([acknowledged(), session.era(ADDRESS.volume)]).toEqual([1, 1]);
    });

    it('is still one of before when its session has been replaced', async () => {
      const session = begin(new FileJournal(directory));
      await session.execute(ADDRESS, touch, request(8));
      shard.expire(session.id);
      shard.internal(back('k'), ADDRESS.volume);
      const next = session.execute(ADDRESS, touch, request(16));
      await expect(next).rejects.toMatchObject({ code: 'ROLLED_BACK' });
      killed(session).abandon();
      shard.internal(back('l'), ADDRESS.volume);
      const second = begin(new FileJournal(directory));
      shard.expire(second.id);
      const last = second.execute(ADDRESS, touch, request(24));
      await expect(last).rejects.toMatchObject({ code: 'ROLLED_BACK' });
    });
  });
});
