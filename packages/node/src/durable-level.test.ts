import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Level } from 'level';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openDurableLevel } from './durable-level.ts';

let parent: string;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'durable-level-'));
});
afterEach(() => rmSync(parent, { recursive: true }));

async function open(path: string): Promise<void> {
  await (await openDurableLevel(path)).close();
}

async function put(path: string, key: string): Promise<void> {
  const level = new Level(path);
  await level.put(key, 'value');
  await level.close();
}

async function keys(path: string): Promise<string[]> {
  const level = new Level(path);
  const found = await level.keys().all();
  await level.close();
  return found;
}

describe('a database that is new', () => {
  it('is made with its parents, and with nothing beside it', async () => {
    const path = join(parent, 'a', 'b', 'state');
    await open(path);
    expect(readdirSync(join(parent, 'a', 'b'))).toEqual(['state']);
    await put(path, 'k');
    expect(await keys(path)).toEqual(['k']);
  });

  it('takes the place of an empty directory', async () => {
    const path = join(parent, 'state');
    mkdirSync(path);
    await open(path);
    expect(existsSync(join(path, 'CURRENT'))).toBe(true);
  });

  it('is left alone when it is there', async () => {
    const path = join(parent, 'state');
    await open(path);
    await put(path, 'k');
    await open(path);
    expect(await keys(path)).toEqual(['k']);
  });

  it('is made by one of two that begin at once, and found by the other', async () => {
    const path = join(parent, 'state');
    const both = await Promise.allSettled([openDurableLevel(path), openDurableLevel(path)]);
    const opened = both.filter((result) => result.status === 'fulfilled');
    expect(opened).toHaveLength(1);
    await opened[0]?.value.close();
    expect(readdirSync(parent)).toEqual(['state']);
    expect(await keys(path)).toEqual([]);
  });

  it('removes what a power cut left half made', async () => {
    mkdirSync(join(parent, 'state.new-1234'));
    writeFileSync(join(parent, 'state.new-1234', 'MANIFEST-000001'), '');
    await open(join(parent, 'state'));
    expect(readdirSync(parent)).toEqual(['state']);
  });

  it('is never begun over remains that have lost their CURRENT', async () => {
    const path = join(parent, 'state');
    await open(path);
    await put(path, 'k');
    rmSync(join(path, 'CURRENT'));
    await expect(open(path)).rejects.toThrow('CURRENT is missing');
    expect(existsSync(join(path, 'CURRENT'))).toBe(false);
  });
});
