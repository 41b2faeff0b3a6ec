import {
  type Command,
  INTERNAL_SESSION,
  type InodeNumber,
  type Operation,
  ROOT_INODE,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { apply } from './apply.ts';
import { planReclaim } from './background.ts';
import { inodeKey } from './keys.ts';
import { MemoryState } from './memory-state.ts';
import { INODE } from './records.ts';
import { chunkExtent, inlineExtent, TestShard, textOf } from './test-shard.ts';

/** The second inode that the test makes. */
const FILE = 3 as InodeNumber;

const fsync: Operation = {
  op: 'write-extents',
  ino: FILE,
  extents: [inlineExtent(5, 'abc'), chunkExtent(0, 3, 9)],
  append: false,
  killPrivileges: true,
};

describe('apply', () => {
  it('makes equal bytes of equal commands, from a state that was stored and read back too', async () => {
    const shard = new TestShard();
    const commands: Command[] = [];
    const record = (operation: Operation, fields: Partial<Command> = {}): void => {
      const command = shard.command(operation, fields);
      commands.push(command);
      apply(shard.state, command);
    };
    const copy = new MemoryState();
    for (const [key, value] of shard.state.entries()) copy.put(key, value);
    const lock = { family: 'posix', type: 'read', start: 0, end: 9, owner: '1', pid: 1 } as const;
    const create = { op: 'create', uid: 1, gid: 1, rdev: 0, target: '', exclusive: true } as const;
    record({ ...create, parent: ROOT_INODE, name: 'd', kind: 'directory', mode: 0o755 });
    record({ ...create, parent: ROOT_INODE, name: 'f', kind: 'file', mode: 0o6755 });
    record(fsync);
    record({ op: 'set-lock', ino: FILE, lock } as Operation);
    record({
      op: 'set-xattr',
      ino: FILE,
      name: 'user.a',
      value: Buffer.from('v'),
      mode: 'set',
    } as Operation);
    record({
      op: 'fallocate',
      ino: FILE,
      mode: 'punch',
      keepSize: true,
      offset: 1,
      length: 2 ** 40,
    } as Operation);
    record({ op: 'unlink', parent: ROOT_INODE, name: 'f' });
    record({ op: 'close-session' });
    const garbage = (await planReclaim(shard.state, 100)) as Operation;
    record(garbage, { session: INTERNAL_SESSION, answeredBelow: 0 });
    for (const command of commands) apply(copy, command);
    expect(textOf(copy)).toEqual(textOf(shard.state));
  });

  it('puts nothing of an operation that is refused, but its answer', () => {
    const shard = new TestShard();
    shard.mkdir('d');
    shard.create('f');
    const puts: string[] = [];
    const watched = {
      get: (key: Uint8Array) => shard.state.get(key),
      put: (key: Uint8Array) => void puts.push(Buffer.from(key).toString('hex')),
      delete: (key: Uint8Array) => void puts.push(Buffer.from(key).toString('hex')),
    };
    const late = chunkExtent(2 ** 53 - 1, 1, 2);
    const refused = { ...fsync, extents: [chunkExtent(0, 1, 1), late] } as Operation;
    expect(apply(watched, shard.command(refused))).toMatchObject({ code: 'EFBIG' });
    // Answer and session, of kinds 4 and 3 of the shard; the last answer is forgotten.
    expect(puts.every((key) => key.startsWith('00000003') || key.startsWith('00000004'))).toBe(
      true,
    );
  });

  it('stops on a broken state instead of answering', () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    const operation: Operation = { op: 'set-attributes', ino, mode: 0 };
    shard.state.put(inodeKey(shard.volume, ino), Uint8Array.of(0xc1));
    expect(() => shard.run(operation)).toThrow(expect.objectContaining({ code: 'CORRUPT' }));
  });

  it('keeps a record that it read unchanged in the state', () => {
    const shard = new TestShard();
    const { ino } = shard.create('f');
    const before = Uint8Array.from(shard.state.get(inodeKey(shard.volume, ino)) as Uint8Array);
    shard.code({ op: 'set-attributes', ino, size: 2 ** 60 });
    const after = shard.state.get(inodeKey(shard.volume, ino)) as Uint8Array;
    expect(INODE.decode(after)).toEqual(INODE.decode(before));
  });
});
