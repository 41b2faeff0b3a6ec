import type {
  LockRequest,
  NodeReference,
  Operation,
  OperationAnswer,
  RequestContext,
  ShardId,
  View,
  VolumeNumber,
  VolumeRecord,
} from '@holdfast/protocol';
import { ACL_BIT, ACL_XATTR, ROOT_INODE } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { ClusterFileSystem } from './cluster-file-system.ts';

const V = 7 as VolumeNumber;
const ROOT: NodeReference = { volume: V, ino: ROOT_INODE };
const CONTEXT: RequestContext = { uid: 0, gid: 0, pid: 0, requestId: 1 };
const LOCK: LockRequest = {
  family: 'posix',
  type: 'read',
  start: 0,
  end: 1,
  owner: '1',
  pid: 0,
};

/** A file system over a shard that notes what it is asked. */
function bench(acls: { readonly acls?: number } = {}) {
  const asked: string[] = [];
  const session = {
    execute: async (_: unknown, { op }: Operation): Promise<OperationAnswer> => {
      asked.push(op);
      return op === 'acquire-delegation' ? { delegation: { granted: true } } : {};
    },
    view: async (_: unknown, { view }: View) => {
      asked.push(view);
      return view === 'space'
        ? { usedBytes: 0, usedInodes: 0, quotaBytes: 0, quotaInodes: 0 }
        : { attributes: { ino: ROOT_INODE, ...acls }, value: new Uint8Array(1) };
    },
    internalContext: () => CONTEXT,
    era: () => 0,
    trustedUntilMs: () => Number.POSITIVE_INFINITY,
  };
  const record = { number: V, shard: 1 as ShardId } as VolumeRecord;
  const volumes = { byNumber: async () => record, knownByNumber: () => record };
  const fileSystem = new ClusterFileSystem({
    session: session as never,
    volumes: volumes as never,
    data: {} as never,
    clusterSpace: async () => ({ totalBytes: 1, freeBytes: 1 }),
    close: async () => {},
  });
  return { asked, fileSystem };
}

describe('the ACL of an inode', () => {
  const ask = async (fileSystem: ClusterFileSystem, name: string): Promise<string> =>
    fileSystem.getXattr(ROOT, name, CONTEXT).then(
      ({ length }) => `${length} bytes`,
      ({ code }: { code: string }) => code,
    );

  it('that is known to have none is asked of nobody', async () => {
    const { asked, fileSystem } = bench({ acls: ACL_BIT.default });
    await fileSystem.getAttributes(ROOT, CONTEXT);
    await fileSystem.getAttributes(ROOT, CONTEXT); // believed from the delegation on
    asked.length = 0;
    expect(await ask(fileSystem, ACL_XATTR.access)).toBe('ENODATA');
    expect(asked).toEqual([]);
    expect(await ask(fileSystem, ACL_XATTR.default)).toBe('1 bytes');
    expect(await ask(fileSystem, 'user.a')).toBe('1 bytes');
    expect(asked).toEqual(['xattr', 'xattr']);
  });

  it('is asked for where nothing is believed', async () => {
    const { asked, fileSystem } = bench();
    expect(await ask(fileSystem, ACL_XATTR.access)).toBe('1 bytes');
    expect(asked).toContain('xattr');
  });
});

describe('a delegation', () => {
  it('is asked for by who looks at a volume', async () => {
    const { asked, fileSystem } = bench();
    await fileSystem.getAttributes(ROOT, CONTEXT);
    expect(asked).toContain('acquire-delegation');
  });

  it('is not asked for by locks and by the use of space, which nobody believes', async () => {
    const { asked, fileSystem } = bench();
    await fileSystem.setLock(ROOT, LOCK, { wait: false }, CONTEXT);
    await fileSystem.testLock(ROOT, LOCK, CONTEXT);
    await fileSystem.releaseLocks(ROOT, 'posix', '1');
    await fileSystem.space(ROOT, CONTEXT);
    expect(asked).toEqual(['set-lock', 'test-lock', 'release-locks', 'space']);
  });
});
