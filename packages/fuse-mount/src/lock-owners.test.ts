import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeReference } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LockOwners } from './lock-owners.ts';

const node = (ino: number) => ({ volume: 1, ino }) as unknown as NodeReference;
const OWNER = '18446744073709551615';

describe('LockOwners', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-locks-'));
    path = join(directory, 'locks');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  it('knows after a restart who may hold a lock', () => {
    const first = new LockOwners(path);
    first.locking(node(5), OWNER);
    first.locking(node(5), OWNER);
    first.locking(node(6), '1');
    first.released(node(6), '1');
    first.released(node(7), '1');
    const second = new LockOwners(path);
    expect([second.mayHold(node(5), OWNER), second.mayHold(node(6), '1')]).toEqual([true, false]);
    expect(readFileSync(path, 'latin1')).toBe(`+1 5 ${OWNER}\n`);
    first.close();
    second.close();
  });

  it('refuses what is no journal', () => {
    writeFileSync(path, 'x\n');
    expect(() => new LockOwners(path)).toThrow(/journal of locks/);
  });
});
