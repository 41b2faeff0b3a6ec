import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { stateName } from './mount-point.ts';
import { canonicalPath, isMounted, mountedHere, prepareMountTarget } from './mount-target.ts';

let folder: string;
let data: string;
beforeEach(() => {
  folder = canonicalPath(mkdtempSync(join(tmpdir(), 'holdfast-target-')));
  data = join(folder, 'data');
  mkdirSync(data);
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('where a mount may be', () => {
  it('is an empty directory, made when it is missing', () => {
    prepareMountTarget(join(folder, 'a', 'b'), data);
    expect(existsSync(join(folder, 'a', 'b'))).toBe(true);
    prepareMountTarget(join(folder, 'a', 'b'), data);
  });

  it.each([
    ['the root', '/', /'\/' cannot/],
    ['a directory with entries', 'full', /full is not empty \(it has 'mine'\)/],
    ['a file', 'file', /not a directory/],
    ['below a file', 'file/x', /cannot be made/],
    ['where mkdir answers ENOENT', '/proc/holdfast/x', /cannot be made/],
    ['the data directory', 'data', /hide it/],
    ['above the data directory', '.', /hide it/],
    ['in the data directory', 'data/mnt', /lies in the data directory/],
  ])('is not %s', (_, name, message) => {
    mkdirSync(join(folder, 'full'));
    writeFileSync(join(folder, 'full', 'mine'), '');
    writeFileSync(join(folder, 'file'), '');
    const path = name.startsWith('/') ? name : canonicalPath(join(folder, name));
    expect(() => prepareMountTarget(path, data)).toThrow(message);
    expect(existsSync(join(data, 'mnt'))).toBe(false);
  });

  it('is not within another mount, and may be one that died', () => {
    const mounted = [{ path: join(folder, 'dead'), type: 'fuse.holdfast' }];
    expect(() => prepareMountTarget(join(folder, 'dead/x'), data, mounted)).toThrow(/within/);
    prepareMountTarget(join(folder, 'dead'), data, mounted);
    expect(existsSync(join(folder, 'dead'))).toBe(false);
    prepareMountTarget(join(folder, 'dead-not'), data, mounted);
  });

  it('sees the data directory through links', () => {
    symlinkSync(folder, `${folder}.link`);
    try {
      const target = join(folder, 'data', 'mnt');
      expect(() => prepareMountTarget(target, join(`${folder}.link`, 'data'))).toThrow(/lies in/);
      expect(canonicalPath(join(`${folder}.link`, 'none', 'x'))).toBe(join(folder, 'none', 'x'));
    } finally {
      rmSync(`${folder}.link`);
    }
    expect(() => canonicalPath('')).toThrow(/empty/);
  });
});

it('reads the table of mounts, blanks and backslashes too', () => {
  const table = 'holdfast /mnt/a\\040b\\134c fuse.holdfast rw 0 0\nproc /proc proc rw 0 0\n';
  expect(mountedHere(table)).toEqual([
    { path: '/mnt/a b\\c', type: 'fuse.holdfast' },
    { path: '/proc', type: 'proc' },
  ]);
  expect(isMounted('/mnt/a b\\c', mountedHere(table))).toBe(true);
  expect(isMounted('/proc', mountedHere(table))).toBe(false);
});

it('gives no two mounts one state directory', () => {
  const long = `/${'a'.repeat(300)}`;
  const paths = ['/mnt/cluster', '/mnt/a_b', '/mnt/a/b', '/mnt/a%5Fb', '/mnt/ä', long, `${long}b`];
  const names = paths.map(stateName);
  expect(new Set(names).size).toBe(paths.length);
  expect(names[0]).toBe('mnt_cluster');
  for (const name of names) expect(name).toMatch(/^[A-Za-z0-9._%~-]{1,255}$/);
});
