/** Random ACLs as numbers: mostly such as setfacl(1) makes, some that are refused. */
import type { InodeNumber, Operation } from '@holdfast/protocol';

const NAMES = ['system.posix_acl_access', 'system.posix_acl_default'] as const;
const [OWNER, USER, GROUP, NAMED_GROUP, MASK, OTHER] = [1, 2, 4, 8, 16, 32] as const;

type Entry = readonly [tag: number, right: number, id: number];

function bytesOf(entries: readonly Entry[], version = 2): Buffer {
  const value = Buffer.alloc(4 + 8 * entries.length);
  value.writeUInt32LE(version);
  for (const [index, [tag, right, id]] of entries.entries()) {
    value.writeUInt16LE(tag, 4 + 8 * index);
    value.writeUInt16LE(right, 6 + 8 * index);
    value.writeUInt32LE(id, 8 + 8 * index);
  }
  return value;
}

/** An ACL of the users and groups that the bits of `b` choose, with rights by `c`. */
function entriesOf(b: number, c: number): Entry[] {
  const right = (index: number): number => (c >> index) & 7;
  const users = [0, 1, 1000].filter((_, index) => ((b >> index) & 1) === 1);
  const groups = [0, 2, 2000].filter((_, index) => ((b >> (index + 3)) & 1) === 1);
  const isMasked = users.length + groups.length > 0 || ((b >> 6) & 1) === 1;
  return [
    [OWNER, right(0), 0xffff_ffff],
    ...users.map((id, index) => [USER, right(1 + index), id] as const),
    [GROUP, right(4), 0xffff_ffff],
    ...groups.map((id, index) => [NAMED_GROUP, right(5 + index), id] as const),
    ...(isMasked ? [[MASK, right(8), 0xffff_ffff] as const] : []),
    [OTHER, right(9), 0],
  ];
}

/** What is wrong with an ACL in one of many ways. */
function wrong(entries: readonly Entry[], way: number): Buffer {
  const value = bytesOf(entries);
  const many = Array.from({ length: 508 }, (_, id) => [USER, 4, id] as const);
  const large = [entries[0]!, ...many, [GROUP, 4, 0], [MASK, 4, 0], [OTHER, 4, 0]] as const;
  const ways: readonly (() => Buffer)[] = [
    () => value.subarray(0, value.length - 1),
    () => value.subarray(0, 3),
    () => bytesOf(entries, 1),
    () => bytesOf(entries.slice(1)),
    () => bytesOf(entries.slice(0, -1)),
    () => bytesOf(entries.toReversed()),
    () => bytesOf([...entries, entries.at(-1)!]),
    () => bytesOf(entries.filter(([tag]) => tag !== MASK)),
    () => bytesOf(entries.filter(([tag]) => tag !== GROUP)),
    () => bytesOf([[OWNER, 8, 0], ...entries.slice(1)]),
    () => bytesOf([entries[0]!, [USER, 4, 0xffff_ffff], ...entries.slice(1)]),
    () => bytesOf([entries[0]!, [USER, 4, 1], [USER, 5, 1], ...entries.slice(1)]),
    () => bytesOf([[3, 4, 0], ...entries.slice(1)]),
    () => bytesOf(large),
    () => bytesOf([...large.slice(0, 2), ...large.slice(3)]),
  ];
  return ways[way % ways.length]!();
}

/** setxattr(2) of an ACL. */
export function setAclStep(
  ino: InodeNumber,
  {
    b,
    c,
    d,
    e,
  }: { readonly b: number; readonly c: number; readonly d: number; readonly e: number },
): Operation {
  const entries = entriesOf(b, c);
  const kind = d % 16;
  const modes = ['set', 'set', 'set', 'set', 'create', 'replace'] as const;
  return {
    op: 'set-xattr',
    ino,
    name: NAMES[e % 2]!,
    value:
      kind === 0
        ? Buffer.alloc(0)
        : kind === 1
          ? bytesOf([])
          : kind < 5
            ? wrong(entries, d >> 4)
            : bytesOf(entries),
    mode: modes[(e >> 1) % modes.length]!,
    ...((e >> 4) % 3 === 0 ? { killSetGroup: true } : {}),
  };
}

/** removexattr(2) of an ACL. */
export function removeAclStep(ino: InodeNumber, b: number): Operation {
  return { op: 'remove-xattr', ino, name: NAMES[b % 2]! };
}
