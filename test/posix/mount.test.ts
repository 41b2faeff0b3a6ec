import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Mounted } from './support/mounted.ts';

describe('a mount', () => {
  let mounted: Mounted;
  beforeAll(async () => {
    mounted = await Mounted.start();
  });
  afterAll(async () => {
    await mounted?.close();
  });

  it('lists its volumes at the top', async () => {
    expect(await readdir(mounted.root)).toEqual(['v']);
    expect((await stat(mounted.root)).ino).toBe(1);
  });

  it('keeps what was written', async () => {
    await writeFile(mounted.path('a'), 'hello');
    expect(await readFile(mounted.path('a'), 'utf8')).toBe('hello');
  });
});
