import type { RepositorySecrets } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import type { RegistryChange, RegistryResult } from './cluster-commands.ts';
import { ClusterState } from './cluster-state.ts';
import { begun } from './testing/registry-bench.ts';

type Put = Extract<RegistryChange, { op: 'put-repository' }>;

const SECRETS: RepositorySecrets = { password: 'hidden-1', credentials: { AWS_X: 'hidden-2' } };

/** A registry to which repositories are told. */
class Bench {
  readonly #registry = begun();

  put(repository: Partial<Put['repository']> = {}, more: Partial<Put> = {}): RegistryResult {
    const known = { name: 'r', place: '/srv/r', id: 'ab'.repeat(32), hosts: [], ...repository };
    return this.#registry.try({
      op: 'put-repository',
      repository: known,
      secrets: SECRETS,
      replace: false,
      ...more,
    });
  }

  remove(name: string): RegistryResult {
    return this.#registry.try({ op: 'remove-repository', name });
  }

  get state(): ClusterState {
    return this.#registry.state;
  }
}

describe('repositories known by name', () => {
  it('are shown without what opens them, which is there for who may have it', () => {
    const bench = new Bench();
    const shown = { name: 'r', place: '/srv/r', credentialNames: ['AWS_X'] };
    const result = bench.put();
    expect(result).toMatchObject({ ok: true, answer: { repository: shown } });
    expect(bench.state.repositories).toMatchObject([shown]);
    expect(JSON.stringify([result, bench.state.repositories])).not.toContain('hidden');
    expect(bench.state.repositoryAccess('r')).toMatchObject({ secrets: SECRETS });
    expect(bench.state.repositoryAccess('s')).toBeUndefined();
  });

  it('are listed by name', () => {
    const bench = new Bench();
    for (const name of ['c', 'a', 'b']) bench.put({ name });
    expect(bench.state.repositories.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  it('are replaced when that is asked for', () => {
    const bench = new Bench();
    bench.put();
    expect(bench.put({ place: '/srv/s' })).toMatchObject({ ok: false, code: 'EEXIST' });
    expect(bench.state.repositories).toMatchObject([{ place: '/srv/r' }]);
    const secrets = { password: 'other', credentials: {} };
    bench.put({ place: '/srv/s' }, { secrets, replace: true });
    expect(bench.state.repositories).toMatchObject([{ place: '/srv/s', credentialNames: [] }]);
    expect(bench.state.repositoryAccess('r')).toMatchObject({ secrets });
  });

  it('are forgotten with what opens them', () => {
    const bench = new Bench();
    bench.put();
    expect(bench.remove('r')).toMatchObject({ ok: true, answer: { changed: true } });
    expect(bench.state.repositoryAccess('r')).toBeUndefined();
    expect(bench.remove('r')).toMatchObject({ ok: false, code: 'NOT_FOUND' });
  });

  it('come back from disk', () => {
    const bench = new Bench();
    bench.put();
    bench.put({ name: 'gone' });
    bench.remove('gone');
    const records = new Map(bench.state.takeChanges().map(({ key, value }) => [key, value]));
    expect(records.get('repository/gone')).toBeUndefined();
    const again = new ClusterState();
    for (const { key, value } of bench.state.all()) if (value !== undefined) again.load(key, value);
    expect(again.repositoryAccess('r')).toEqual(bench.state.repositoryAccess('r'));
    expect(again.repositories).toHaveLength(1);
  });

  it.each([
    [{ name: 'a/b' }, /no name for a repository/],
    [{ name: 'x'.repeat(65) }, /1 to 64/],
    [{ place: 'srv/r' }, /absolute directory/],
    [{ place: '' }, /1 to 1024 characters/],
    [{ id: 'ab' }, /64 hexadecimal/],
    [{ hosts: ['a b'] }, /no name for a peer/],
    [{ sendBytesPerSecond: 0 }, /bytes a second/],
    [{ fetchBytesPerSecond: 1.5 }, /bytes a second/],
    [{ ca: 'x'.repeat(40_000) }, /at most 32768/],
  ])('of %j are refused', (repository, message) => {
    expect(new Bench().put(repository)).toMatchObject({
      ok: false,
      code: 'BAD_REQUEST',
      message: expect.stringMatching(message),
    });
  });

  it.each([
    [{ password: '' }],
    [{ password: 'hidden'.repeat(200) }],
    [{ credentials: { LD_PRELOAD: 'hidden' } }],
    [{ credentials: { AWS_X: '' } }],
    [{ credentials: { AWS_X: 'hidden'.repeat(2_000) } }],
  ])('with secrets out of bounds are refused without telling them', (wrong) => {
    const result = new Bench().put({}, { secrets: { ...SECRETS, ...wrong } });
    expect(result).toMatchObject({ ok: false, code: 'BAD_REQUEST' });
    expect(JSON.stringify(result)).not.toContain('hidden');
  });
});
