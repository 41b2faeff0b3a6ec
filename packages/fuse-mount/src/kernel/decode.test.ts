import type { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { OPCODE } from './abi.ts';
import { decodeRequest } from './decode.ts';
import type { RequestBody } from './requests.ts';

/** Little-endian hexadecimal of fields, as fuse.h lists them. */
const u16 = (value: number) => hex(BigInt(value), 2);
const u32 = (value: number) => hex(BigInt(value), 4);
const u64 = (value: bigint | number) => hex(BigInt(value), 8);
const text = (value: string) => Buffer.from(`${value}\0`, 'latin1').toString('hex');

function hex(value: bigint, bytes: number): string {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt.asUintN(64, value));
  return buffer.toString('hex', 0, bytes);
}

function request(opcode: number, body: string, unique: bigint = 6n): Buffer {
  const length = 40 + body.length / 2;
  const nodeId = (5n << 40n) | 77n;
  const header = [
    u32(length),
    u32(opcode),
    u64(unique),
    u64(nodeId),
    u32(1000),
    u32(100),
    u32(4242),
  ];
  return Buffer.from(`${header.join('')}${u16(0)}${u16(0)}${body}`, 'hex');
}

const NODE = { volume: 9, ino: 2 ** 33 + 1 };
const NODE_ID = u64((9n << 40n) | (2n ** 33n + 1n));
const MAX = Number.MAX_SAFE_INTEGER;
const NO_END = 2n ** 63n - 1n;
const READ_BODY = (offset: bigint | number, flags: number) =>
  u64(3) + u64(offset) + u32(4096) + u32(flags) + u64(9) + u32(0) + u32(0);
const SETATTR_BODY = (valid: number) =>
  [
    u32(valid) + u32(0) + u64(3) + u64(8192) + u64(1),
    u64(10) + u64(-2n) + u64(12) + u32(5) + u32(500_000_000) + u32(7),
    u32(0o104755) + u32(0) + u32(33) + u32(44) + u32(0),
  ].join('');
const LOCK_BODY = (start: bigint, end: bigint, type: number, flags: number) =>
  u64(3) + u64(2n ** 64n - 1n) + u64(start) + u64(end) + u32(type) + u32(17) + u32(flags) + u32(0);

type Case = readonly [title: string, opcode: number, body: string, expected: RequestBody];

const CASES: readonly Case[] = [
  ['LOOKUP', OPCODE.lookup, text('a\xffb'), { op: 'lookup', name: 'a\xffb' }],
  ['FORGET', OPCODE.forget, u64(3), { op: 'forget' }],
  [
    'BATCH_FORGET',
    OPCODE.batchForget,
    u32(2) + u32(0) + NODE_ID + u64(4) + u64(1) + u64(1),
    { op: 'batchForget', nodes: [NODE, { volume: 0, ino: 1 }] as never },
  ],
  ['GETATTR', OPCODE.getattr, u32(0) + u32(0) + u64(0), { op: 'getattr' }],
  ['SETATTR of nothing', OPCODE.setattr, SETATTR_BODY(0), { op: 'setattr', killPrivileges: false }],
  [
    'SETATTR of all',
    OPCODE.setattr,
    SETATTR_BODY(0x3f | 0x800),
    {
      op: 'setattr',
      killPrivileges: true,
      mode: 0o4755,
      uid: 33,
      gid: 44,
      size: 8192,
      atime: 10_000_000_005n,
      mtime: -1_500_000_000n,
    },
  ],
  [
    'SETATTR with the time of now',
    OPCODE.setattr,
    SETATTR_BODY(0x10 | 0x20 | 0x80 | 0x100),
    { op: 'setattr', killPrivileges: false, atime: 'now', mtime: 'now' },
  ],
  ['READLINK', OPCODE.readlink, '', { op: 'readlink' }],
  [
    'SYMLINK',
    OPCODE.symlink,
    text('name') + text('../target'),
    { op: 'symlink', name: 'name', target: '../target' },
  ],
  [
    'MKNOD',
    OPCODE.mknod,
    u32(0o020644) + u32(0x501) + u32(0o22) + u32(0) + text('tty'),
    { op: 'mknod', mode: 0o020644, umask: 0o22, rdev: 0x501, name: 'tty' },
  ],
  [
    'MKDIR',
    OPCODE.mkdir,
    u32(0o041755) + u32(0o22) + text('dir'),
    { op: 'mkdir', mode: 0o1755, umask: 0o22, name: 'dir' },
  ],
  ['UNLINK', OPCODE.unlink, text('x'), { op: 'unlink', name: 'x' }],
  ['RMDIR', OPCODE.rmdir, text('x'), { op: 'rmdir', name: 'x' }],
  [
    'RENAME',
    OPCODE.rename,
    NODE_ID + text('from') + text('to'),
    { op: 'rename', name: 'from', newParent: NODE as never, newName: 'to', flags: 0 },
  ],
  [
    'RENAME2',
    OPCODE.rename2,
    NODE_ID + u32(2) + u32(0) + text('from') + text('to'),
    { op: 'rename', name: 'from', newParent: NODE as never, newName: 'to', flags: 2 },
  ],
  ['LINK', OPCODE.link, NODE_ID + text('n'), { op: 'link', node: NODE as never, newName: 'n' }],
  [
    'OPEN',
    OPCODE.open,
    u32(0o1002) + u32(1),
    { op: 'open', openFlags: 0o1002, killPrivileges: true },
  ],
  ['OPENDIR', OPCODE.opendir, u32(0o200000) + u32(0), { op: 'opendir', openFlags: 0o200000 }],
  [
    'CREATE',
    OPCODE.create,
    u32(0o301) + u32(0o100640) + u32(0o22) + u32(0) + text('new'),
    {
      op: 'create',
      name: 'new',
      mode: 0o640,
      umask: 0o22,
      openFlags: 0o301,
      killPrivileges: false,
    },
  ],
  [
    'READ',
    OPCODE.read,
    READ_BODY(MAX, 2),
    { op: 'read', handle: 3, offset: MAX, length: 4096, isForCache: false },
  ],
  [
    'READ beyond every file',
    OPCODE.read,
    READ_BODY(2n ** 53n, 0),
    {
      op: 'read',
      handle: 3,
      offset: Number.POSITIVE_INFINITY,
      length: 4096,
      isForCache: true,
    },
  ],
  [
    'WRITE',
    OPCODE.write,
    `${u64(3)}${u64(512)}${u32(3)}${u32(4)}${u64(0)}${u32(0o2001)}${u32(0)}616263`,
    {
      op: 'write',
      handle: 3,
      offset: 512,
      bytes: Buffer.from('abc'),
      writeFlags: 4,
      openFlags: 0o2001,
    },
  ],
  ['STATFS', OPCODE.statfs, '', { op: 'statfs' }],
  [
    'RELEASE',
    OPCODE.release,
    u64(3) + u32(2) + u32(2) + u64(2n ** 64n - 2n),
    { op: 'release', handle: 3, openFlags: 2, releaseFlags: 2, lockOwner: '18446744073709551614' },
  ],
  [
    'RELEASEDIR',
    OPCODE.releasedir,
    u64(0) + u32(0) + u32(0) + u64(0),
    { op: 'releasedir', handle: 0, openFlags: 0, releaseFlags: 0, lockOwner: '0' },
  ],
  [
    'FSYNC of data',
    OPCODE.fsync,
    u64(3) + u32(1) + u32(0),
    { op: 'fsync', handle: 3, dataOnly: true },
  ],
  [
    'FSYNCDIR',
    OPCODE.fsyncdir,
    u64(0) + u32(0) + u32(0),
    { op: 'fsyncdir', handle: 0, dataOnly: false },
  ],
  [
    'SETXATTR',
    OPCODE.setxattr,
    `${u32(2)}${u32(1)}${text('user.k')}0001`,
    {
      op: 'setxattr',
      name: 'user.k',
      value: Buffer.from([0, 1]),
      flags: 1,
      killSetGroup: false,
    },
  ],
  [
    'GETXATTR',
    OPCODE.getxattr,
    u32(128) + u32(0) + text('user.k'),
    { op: 'getxattr', name: 'user.k', length: 128 },
  ],
  ['LISTXATTR', OPCODE.listxattr, u32(64) + u32(0), { op: 'listxattr', length: 64 }],
  ['REMOVEXATTR', OPCODE.removexattr, text('user.k'), { op: 'removexattr', name: 'user.k' }],
  [
    'FLUSH',
    OPCODE.flush,
    u64(3) + u32(0) + u32(0) + u64(5),
    { op: 'flush', handle: 3, lockOwner: '5' },
  ],
  [
    'INIT of 16 bytes',
    OPCODE.init,
    u32(7) + u32(32) + u32(131_072) + u32(0x03ff_fffb),
    { op: 'init', major: 7, minor: 32, maxReadaheadBytes: 131_072, flags: 0x03ff_fffbn },
  ],
  [
    'INIT of 64 bytes',
    OPCODE.init,
    u32(7) + u32(45) + u32(131_072) + u32(0x7000_0001) + u32(0x90) + u32(0).repeat(11),
    {
      op: 'init',
      major: 7,
      minor: 45,
      maxReadaheadBytes: 131_072,
      flags: (0x90n << 32n) | 0x7000_0001n,
    },
  ],
  [
    'INIT as Linux 6.18 sends it',
    OPCODE.init,
    `070000002d00000000000200fbffff73fd050000${'00'.repeat(44)}`,
    {
      op: 'init',
      major: 7,
      minor: 45,
      maxReadaheadBytes: 131_072,
      flags: (0x5fdn << 32n) | 0x73ff_fffbn,
    },
  ],
  [
    'READDIR',
    OPCODE.readdir,
    READ_BODY(2n ** 53n + 1n, 2),
    { op: 'readdir', handle: 3, offset: 2n ** 53n + 1n, length: 4096 },
  ],
  [
    'READDIRPLUS',
    OPCODE.readdirplus,
    READ_BODY(0, 2),
    { op: 'readdirplus', handle: 3, offset: 0n, length: 4096 },
  ],
  [
    'GETLK of a whole file',
    OPCODE.getlk,
    LOCK_BODY(0n, NO_END, 1, 0),
    {
      op: 'getlk',
      handle: 3,
      lock: {
        family: 'posix',
        type: 'write',
        start: 0,
        end: MAX,
        owner: '18446744073709551615',
        pid: 17,
      },
    },
  ],
  [
    'SETLK of one byte',
    OPCODE.setlk,
    LOCK_BODY(7n, 7n, 0, 0),
    {
      op: 'setlk',
      handle: 3,
      lock: {
        family: 'posix',
        type: 'read',
        start: 7,
        end: 8,
        owner: '18446744073709551615',
        pid: 17,
      },
    },
  ],
  [
    'SETLKW by flock',
    OPCODE.setlkw,
    LOCK_BODY(NO_END - 1n, NO_END, 2, 1),
    {
      op: 'setlkw',
      handle: 3,
      lock: {
        family: 'flock',
        type: 'unlock',
        start: MAX - 1,
        end: MAX,
        owner: '18446744073709551615',
        pid: 17,
      },
    },
  ],
  [
    'INTERRUPT of a request sent again',
    OPCODE.interrupt,
    u64(2n ** 63n + 24n),
    { op: 'interrupt', requestId: 24 },
  ],
  ['DESTROY', OPCODE.destroy, '', { op: 'destroy' }],
  [
    'FALLOCATE',
    OPCODE.fallocate,
    u64(3) + u64(4096) + u64(8192) + u32(3) + u32(0),
    { op: 'fallocate', handle: 3, offset: 4096, length: 8192, mode: 3 },
  ],
  [
    'LSEEK',
    OPCODE.lseek,
    u64(3) + u64(4096) + u32(4) + u32(0),
    { op: 'lseek', handle: 3, offset: 4096, whence: 4 },
  ],
];

describe('decodeRequest', () => {
  it.each(CASES)('reads %s', (_title, opcode, body, expected) => {
    expect(decodeRequest(request(opcode, body))).toEqual({
      header: {
        opcode,
        length: 40 + body.length / 2,
        requestId: 6,
        isResent: false,
        node: { volume: 5, ino: 77 },
        uid: 1000,
        gid: 100,
        pid: 4242,
      },
      body: expected,
    });
  });

  // The kernel sends FORGET's one field and INIT's newer ones whole or not at all.
  it.each(CASES)('refuses %s at every shorter length', (_title, opcode, body) => {
    for (let length = 0; length < body.length / 2; length += 1) {
      const bytes = request(opcode, body.slice(0, length * 2));
      const decoded = decodeRequest(bytes);
      if (opcode === OPCODE.init && length >= 20) continue;
      expect((decoded as { refusal?: HoldfastError }).refusal?.code).toBe('BAD_REQUEST');
    }
  });

  it('reads SETXATTR with flags of its own where that was agreed', () => {
    const body = `${u32(2)}${u32(1)}${u32(1)}${u32(0)}${text('user.k')}0001`;
    const dialect = { extendedXattrs: true };
    expect(decodeRequest(request(OPCODE.setxattr, body), dialect)).toMatchObject({
      body: { name: 'user.k', value: Buffer.from([0, 1]), flags: 1, killSetGroup: true },
    });
    const plain = body.replace(u32(1) + u32(1), u32(1) + u32(0));
    expect(decodeRequest(request(OPCODE.setxattr, plain), dialect)).toMatchObject({
      body: { flags: 1, killSetGroup: false },
    });
    for (let length = 0; length < body.length / 2; length += 1) {
      const bytes = request(OPCODE.setxattr, body.slice(0, length * 2));
      expect(decodeRequest(bytes, dialect)).toMatchObject({ refusal: { code: 'BAD_REQUEST' } });
    }
  });

  it('refuses a request whose header tells another length than was read', () => {
    const bytes = Buffer.concat([request(OPCODE.statfs, ''), Buffer.alloc(1)]);
    expect(decodeRequest(bytes)).toMatchObject({ refusal: { code: 'BAD_REQUEST' } });
  });

  it('has nothing to say about less than a header', () => {
    const bytes = request(OPCODE.statfs, '');
    for (let length = 0; length < 40; length += 1) {
      expect(decodeRequest(bytes.subarray(0, length))).toBeUndefined();
    }
  });

  it('tells a request that is sent again and keeps its first id', () => {
    const first = decodeRequest(request(OPCODE.statfs, '', 2n ** 33n + 8n));
    const again = decodeRequest(request(OPCODE.statfs, '', 2n ** 63n + 2n ** 33n + 8n));
    expect(first?.header).toMatchObject({ requestId: 2 ** 33 + 8, isResent: false });
    expect(again?.header).toMatchObject({ requestId: 2 ** 33 + 8, isResent: true });
  });

  it.each([
    ['a truncation', OPCODE.setattr, SETATTR_BODY(8).replace(u64(8192), u64(2n ** 53n))],
    ['a write', OPCODE.write, u64(3) + u64(2n ** 53n) + u32(0).repeat(6)],
    [
      'a write across the limit',
      OPCODE.write,
      `${u64(3)}${u64(MAX)}${u32(1)}${u32(0).repeat(5)}00`,
    ],
    ['fallocate', OPCODE.fallocate, u64(3) + u64(MAX) + u64(1) + u32(0) + u32(0)],
  ])('refuses %s beyond 2^53-1 with EFBIG', (_title, opcode, body) => {
    expect(decodeRequest(request(opcode, body))).toMatchObject({ refusal: { code: 'EFBIG' } });
  });

  it.each([OPCODE.access, OPCODE.ioctl, OPCODE.copyFileRange, OPCODE.tmpfile, 53, 4096, 0])(
    'knows no operation %i',
    (opcode) => {
      expect(decodeRequest(request(opcode, u64(0)))).toMatchObject({ refusal: { code: 'ENOSYS' } });
    },
  );

  it('refuses a lock that is neither read, write nor unlock', () => {
    const bytes = request(OPCODE.setlk, LOCK_BODY(0n, 1n, 3, 0));
    expect(decodeRequest(bytes)).toMatchObject({ refusal: { code: 'EINVAL' } });
  });
});
