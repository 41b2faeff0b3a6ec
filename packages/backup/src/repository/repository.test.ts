import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DirectoryStore } from '../store/directory.ts';
import { initRepository, openRepository } from './repository.ts';

const COST = { N: 1024, r: 8, p: 1 };

describe('a repository', () => {
  let root: string;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-backup-'));
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });

  it('opens with each of its passwords and with no other', async () => {
    const store = new DirectoryStore(root);
    const made = await initRepository({ store, password: 'first', cost: COST });
    await made.addKey('second', COST);
    for (const password of ['first', 'second']) {
      const opened = await openRepository({ store, password });
      expect(opened.config).toEqual(made.config);
    }
    await expect(openRepository({ store, password: 'third' })).rejects.toMatchObject({
      code: 'EACCES',
    });
  });

  it('is not made twice, and is missed where there is none', async () => {
    const store = new DirectoryStore(root);
    const options = { store, password: 'secret', cost: COST };
    await expect(openRepository(options)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await initRepository(options);
    await expect(initRepository(options)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  it('refuses an object that was changed', async () => {
    const store = new DirectoryStore(root);
    const made = await initRepository({ store, password: 'secret', cost: COST });
    const id = await made.save('snapshots', { text: 'hello' });
    expect(await made.load('snapshots', id)).toEqual({ text: 'hello' });
    const bytes = Buffer.from(await store.get(`snapshots/${id}`));
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    await store.delete(`snapshots/${id}`);
    await store.put(`snapshots/${id}`, bytes);
    await expect(made.load('snapshots', id)).rejects.toMatchObject({ code: 'CORRUPT' });
    expect(await readdir(join(root, 'tmp'))).toEqual([]);
  });
});
