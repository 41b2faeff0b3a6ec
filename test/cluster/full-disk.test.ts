import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeSync } from 'node:fs';
import { mkdir, open, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LocalCluster,
  type LocalPeer,
  startLocalCluster,
  until,
} from '../demo/local-cluster.ts';

const DISK = '256m';
const FILE_BYTES = 2 << 20;
const WRITERS = 4;
/** Milliseconds after which a call counts as hanging; a wait for a quorum would be 30,000. */
const CALL_MS_MAX = 20_000;
/** Milliseconds for which a session lives without a sign of life, and some. */
const LEASE_MS = 12_000;
/** Milliseconds until freed chunks are given back: a minute of grace, and collection. */
const ROOM_MS_MAX = 150_000;

interface Kept {
  readonly path: string;
  readonly bytes: Buffer;
}

describe('a peer whose disk is full', () => {
  let cluster: LocalCluster;
  let peer: LocalPeer;
  let disk: string;
  let volume: string;

  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 0 });
    disk = join(cluster.root, 'h1', 'data');
    mkdirSync(disk, { recursive: true });
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK}`, 'tmpfs', disk]);
    peer = await cluster.addPeer();
    volume = await cluster.volume('v');
  });
  afterAll(async () => {
    await peer?.stop();
    execFileSync('umount', [disk]);
    await cluster?.close();
  });

  /** Fails when it takes longer than any answer may. */
  async function soon<T>(what: string, call: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`${what} hangs`)), CALL_MS_MAX);
    });
    try {
      return await Promise.race([call, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async function write(path: string, bytes: Buffer): Promise<void> {
    const file = await open(path, 'w');
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  /** Writes files until one is refused; answers why, and those that were acknowledged. */
  async function fill(
    writer: number,
  ): Promise<{ kept: Kept[]; refused: string; failure: unknown }> {
    const kept: Kept[] = [];
    for (;;) {
      const path = join(volume, `file-${writer}-${kept.length}`);
      const bytes = randomBytes(FILE_BYTES);
      try {
        await soon(`writing ${path}`, write(path, bytes));
        kept.push({ path, bytes });
      } catch (failure) {
        return { kept, refused: path, failure };
      }
    }
  }

  async function expectWhole(kept: readonly Kept[]): Promise<void> {
    for (const { path, bytes } of kept) {
      const read = await soon(`reading ${path}`, readFile(path));
      expect([path, bytes.equals(read)]).toEqual([path, true]);
    }
  }

  /** Takes all that is left of the disk; answers how to give it back. */
  function takeTheRest(): () => void {
    const path = join(disk, 'foreign');
    const file = openSync(path, 'w');
    try {
      for (const bytes of [1 << 20, 4096])
        for (let isFull = false; !isFull; ) {
          try {
            writeSync(file, Buffer.alloc(bytes));
          } catch {
            isFull = true;
          }
        }
    } finally {
      closeSync(file);
    }
    return () => rmSync(path);
  }

  const isTaken = (path: string, bytes: Buffer): Promise<boolean> =>
    soon(`writing ${path}`, write(path, bytes)).then(
      () => true,
      (error: unknown) => {
        expect(error).toMatchObject({ code: 'ENOSPC' });
        return false;
      },
    );

  it('refuses writers, keeps all it has, and takes writes again once there is room', async () => {
    const pid = peer.nodePid;
    const fills = await Promise.all(Array.from({ length: WRITERS }, (_, i) => fill(i)));
    for (const { failure } of fills) expect(failure).toMatchObject({ code: 'ENOSPC' });
    const kept = fills.flatMap((filled) => filled.kept);
    expect(kept.length).toBeGreaterThan(20);
    await expectWhole(kept);

    const gone = kept.splice(0, kept.length / 2).map(({ path }) => path);
    gone.push(...fills.map(({ refused }) => refused));
    for (const path of gone) await soon(`removing ${path}`, unlink(path));
    const names = readdirSync(volume);
    expect(names.sort()).toEqual(kept.map(({ path }) => path.slice(volume.length + 1)).sort());

    const giveBack = takeTheRest();
    const refused = { code: 'ENOSPC' };
    const small = join(volume, 'small');
    await new Promise((resolve) => setTimeout(resolve, LEASE_MS));
    await expect(
      soon('a large write', write(join(volume, 'large'), randomBytes(FILE_BYTES))),
    ).rejects.toMatchObject(refused);
    await expect(soon('a small write', writeFile(small, 'x'))).rejects.toMatchObject(refused);
    await expect(soon('mkdir', mkdir(join(volume, 'dir')))).rejects.toMatchObject(refused);
    await expectWhole(kept.slice(0, 10));
    giveBack();
    await until('a small write to be taken', () => isTaken(small, Buffer.from('x')));

    const again: Kept = { path: join(volume, 'again'), bytes: randomBytes(8 * FILE_BYTES) };
    await until('room from removed files', () => isTaken(again.path, again.bytes), ROOM_MS_MAX);
    await peer.stopMount();
    await peer.startMount();
    await expectWhole([...kept, again, { path: small, bytes: Buffer.from('x') }]);
    expect(peer.nodePid).toBe(pid);
    expect(await peer.isReady()).toBe(true);
  });
});
