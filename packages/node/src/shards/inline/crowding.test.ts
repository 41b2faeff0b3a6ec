import type {
  Command,
  ExtentWrite,
  InodeNumber,
  Operation,
  SessionId,
  VolumeNumber,
} from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { Crowding } from './crowding.ts';

const MiB = 2 ** 20;
const INO = 5 as InodeNumber;

function inline(offset: number): ExtentWrite {
  return { offset, length: 1, source: { kind: 'inline', bytes: new Uint8Array(1) } };
}

function commandOf(operation: Operation): Command {
  const session = 'a'.repeat(16) as SessionId;
  const volume = 3 as VolumeNumber;
  return { v: 1, session, sequence: 1, answeredBelow: 0, timeNs: 0n, volume, operation };
}

function write(extents: readonly ExtentWrite[], append = false): Command {
  return commandOf({ op: 'write-extents', ino: INO, extents, append, killPrivileges: false });
}

function crowdingOf(writesMax: number) {
  const told: number[] = [];
  const crowding = new Crowding({ writesMax, onCrowding: () => told.push(1) });
  return { crowding, told };
}

const OK = { ok: true, answer: {} } as const;

describe('crowding', () => {
  it('tells of a region that gathered many small writes, once until it was taken', () => {
    const { crowding, told } = crowdingOf(3);
    crowding.applied(write([inline(MiB), inline(2 * MiB)]), OK);
    crowding.applied(write([inline(MiB + 5)]), OK);
    expect(crowding.take()).toEqual([]);
    for (let i = 0; i < 4; i++) crowding.applied(write([inline(MiB + i)]), OK);
    expect(told).toEqual([1]);
    expect(crowding.take()).toEqual([{ file: { volume: 3, ino: INO }, region: 1 }]);
    expect(crowding.take()).toEqual([]);
  });

  it('knows where an append landed', () => {
    const { crowding } = crowdingOf(1);
    crowding.applied(write([inline(0)], true), { ok: true, answer: { offset: 7 * MiB } });
    expect(crowding.take()).toMatchObject([{ region: 7 }]);
  });

  it('tells at once of a region for which writers are refused', () => {
    const { crowding } = crowdingOf(100);
    crowding.applied(write([inline(MiB)]), { ok: false, code: 'OVERLOADED' });
    expect(crowding.take()).toMatchObject([{ region: 1 }]);
  });

  it('counts neither chunks, nor what was refused, nor other operations', () => {
    const { crowding } = crowdingOf(1);
    crowding.applied(write([{ ...inline(0), source: { kind: 'zero', allocated: true } }]), OK);
    crowding.applied(write([inline(0)]), { ok: false, code: 'EDQUOT' });
    crowding.applied(commandOf({ op: 'return-delegation' }), OK);
    expect(crowding.take()).toEqual([]);
  });
});
