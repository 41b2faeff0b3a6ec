import { type Command, HoldfastError, type Operation, type VolumeNumber } from '@holdfast/protocol';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { apply } from './apply.ts';
import { TestShard } from './test-shard.ts';
import { view } from './views.ts';

const valid: readonly Operation[] = [
  { op: 'init-volume', name: 'v', mode: 0, uid: 0, gid: 0, quotaBytes: 0, quotaInodes: 0 },
  { op: 'set-quota', quotaBytes: 0, quotaInodes: 0 },
  { op: 'unlink', parent: 1, name: 'a' },
  { op: 'set-attributes', ino: 1, mode: 1, uid: 1, gid: 1, size: 1, atime: 1n, mtime: 'now' },
  {
    op: 'write-extents',
    ino: 2,
    extents: [{ offset: 0, length: 1, source: { kind: 'zero', allocated: true } }],
    append: true,
    killPrivileges: false,
  },
  { op: 'set-xattr', ino: 1, name: 'user.a', value: new Uint8Array(1), mode: 'set' },
  {
    op: 'set-lock',
    ino: 1,
    lock: { family: 'posix', type: 'read', start: 0, end: 1, owner: '1', pid: 1 },
  },
  { op: 'release-orphans', inos: [1] },
] as Operation[];

/** Values that a wrong or hostile client may send. */
const strange = fc.oneof(
  fc.anything({ withBigInt: true, withNullPrototype: true }),
  fc.constantFrom(Number.NaN, -1, 0.5, 2 ** 53, -0, Number.POSITIVE_INFINITY, '\u0100', null),
);

/** Replaces one field, at any depth, by something strange. */
function spoiled(operation: unknown, path: number, value: unknown): unknown {
  if (typeof operation !== 'object' || operation === null) return value;
  if (operation instanceof Uint8Array) return value;
  const keys = Object.keys(operation);
  const key = keys[path % Math.max(1, keys.length)];
  if (key === undefined) return value;
  const inner = (operation as Record<string, unknown>)[key];
  const copy = (Array.isArray(operation) ? [...operation] : { ...operation }) as Record<
    string,
    unknown
  >;
  copy[key] = spoiled(inner, Math.floor(path / 7), value);
  return copy;
}

describe('malformed input', () => {
  it('is refused, never thrown, whatever a command holds', () => {
    fc.assert(
      fc.property(fc.constantFrom(...valid), fc.nat(10_000), strange, (operation, path, value) => {
        const shard = new TestShard();
        shard.create('a');
        const result = shard.run(spoiled(operation, path, value) as Operation);
        const code = result.ok ? 'ok' : result.code;
        expect(['INTERNAL', 'CORRUPT']).not.toContain(code);
      }),
      { numRuns: 500 },
    );
  });

  it('is refused in the envelope too', () => {
    const shard = new TestShard();
    const command = shard.command({ op: 'release-orphans', inos: [] });
    const spoil: readonly Partial<Record<keyof Command, unknown>>[] = [
      { session: 'x' },
      { sequence: 0 },
      { sequence: 1.5 },
      { answeredBelow: command.sequence + 1 },
      { timeNs: 1 },
      { timeNs: 2n ** 63n },
      { volume: -1 },
      { operation: null },
      { operation: { op: 'constructor' } },
      { operation: { op: 'unknown' } },
    ];
    for (const fields of spoil) {
      const result = apply(shard.state, { ...command, ...fields } as Command);
      expect(result).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    }
    const newer = { ...command, v: 2 } as unknown as Command;
    expect(apply(shard.state, newer)).toMatchObject({ code: 'NEWER_FORMAT' });
  });

  it('is refused in looks', async () => {
    const shard = new TestShard();
    await fc.assert(
      fc.asyncProperty(strange, strange, async (ino, offset) => {
        const wanted = { view: 'extents', ino, offset, length: 1 } as never;
        const look = view(shard.state, {
          session: shard.session,
          volume: 1 as VolumeNumber,
          view: wanted,
        });
        const kind = await look.then(
          () => 'refusal',
          (error: unknown) => (error instanceof HoldfastError ? error.kind : String(error)),
        );
        expect(kind).toBe('refusal');
      }),
    );
  });
});
