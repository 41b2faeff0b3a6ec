import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MountRoot, parseMountinfo } from './mount-root.ts';
import { volumesInMountNamespaces } from './mount-users.ts';
import { fuseObstacle, mountFolders } from './testing/fuse-folders.ts';

describe('parseMountinfo', () => {
  it('reads optional fields, none and several, and escaped blanks', () => {
    const text = [
      '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw',
      '37 35 0:55 / /mnt/my\\040cluster rw - fuse.holdfast holdfast rw',
      '',
    ].join('\n');
    expect(parseMountinfo(text)).toEqual([
      { device: '98:0', root: '/mnt1', mountPoint: '/mnt2', type: 'ext3' },
      { device: '0:55', root: '/', mountPoint: '/mnt/my cluster', type: 'fuse.holdfast' },
    ]);
  });
});

describe('the mount root', () => {
  it('gives no folder while nothing is mounted there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-root-'));
    const root = new MountRoot(folder);
    await expect(root.requireFolder('v')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    rmSync(folder, { recursive: true });
  });

  it('gives no folder of a file system that is not FUSE', async () => {
    await expect(new MountRoot('/proc').requireFolder('self')).rejects.toThrow(
      'a proc file system',
    );
  });

  it('gives the folders of a live mount, and only those', async (context) => {
    context.skip(fuseObstacle() !== undefined, fuseObstacle());
    const mount = await mountFolders('v1', 'v2');
    try {
      const root = new MountRoot(mount.path);
      expect(await root.requireFolder('v1')).toBe(join(mount.path, 'v1'));
      await root.flush('v1', 5_000);
      await expect(root.requireFolder('v3')).rejects.toMatchObject({ code: 'ENOENT' });
      await mount.kill();
      await expect(root.requireFolder('v1')).rejects.toThrow('ENOTCONN');
      await expect(root.flush('v1', 5_000)).rejects.toThrow('ENOTCONN');
    } finally {
      await mount.close();
    }
  });

  it('answers many who ask at once', async (context) => {
    context.skip(fuseObstacle() !== undefined, fuseObstacle());
    const mount = await mountFolders('v1');
    try {
      const root = new MountRoot(mount.path);
      const asked = Array.from({ length: 8 }, () => root.requireFolder('v1'));
      expect(new Set(await Promise.all(asked))).toEqual(new Set([join(mount.path, 'v1')]));
    } finally {
      await mount.close();
    }
  });

  it('asks a mount that does not answer at most twice at a time', async (context) => {
    context.skip(fuseObstacle() !== undefined, fuseObstacle());
    const mount = await mountFolders('v1');
    try {
      const root = new MountRoot(mount.path);
      const folders = ['slow', 'slow', 'v1'].map((folder) => root.requireFolder(folder));
      const outcomes = Promise.allSettled(folders);
      await mount.kill(); // now the kernel answers for it
      const [, , third] = await outcomes;
      expect((await outcomes).map(({ status }) => status)).toEqual(Array(3).fill('rejected'));
      expect(String((third as PromiseRejectedResult).reason)).toContain('does not answer');
    } finally {
      await mount.close();
    }
  });

  it('sees which volumes other mount namespaces have bound', async (context) => {
    context.skip(fuseObstacle() !== undefined, fuseObstacle());
    const mount = await mountFolders('v1', 'v2');
    const place = mkdtempSync(join(tmpdir(), 'holdfast-bind-'));
    const script = 'mount --bind "$1/v2" "$2" && echo ready && exec sleep 60';
    const container = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', mount.path, place]);
    try {
      await once(container.stdout, 'data');
      expect([...(await volumesInMountNamespaces(new MountRoot(mount.path)))]).toEqual(['v2']);
    } finally {
      container.kill('SIGKILL');
      await once(container, 'exit');
      await mount.close();
      rmSync(place, { recursive: true });
    }
  });
});
