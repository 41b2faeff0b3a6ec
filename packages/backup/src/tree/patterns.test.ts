import { describe, expect, it } from 'vitest';
import { PathFilter, PathPattern } from './patterns.ts';

const names = (path: string): string[] => path.split('/').filter(Boolean);
const matches = (pattern: string, path: string): boolean =>
  PathPattern.parse(pattern).judge(names(path)).isMatch;

describe('a pattern of paths', () => {
  // Those of restic's own documentation, and what Go's Match says.
  it.each([
    ['*.c', '/src/main.c', true],
    ['*.c', '/src/main.cc', false],
    ['foo', '/a/foo', true],
    ['foo', '/a/foo/below/it', true],
    ['foo', '/a/food', false],
    ['foo/bar', '/x/foo/bar', true],
    ['foo/bar', '/x/foo/y/bar', false],
    ['foo/**/bar', '/dir1/foo/dir2/bar/file', true],
    ['foo/**/bar', '/foo/bar/file', true],
    ['foo/**/bar', '/dir1/dir2/bar/foo', false],
    ['/foo', '/foo', true],
    ['/foo', '/x/foo', false],
    ['/foo/*', '/foo', false],
    ['/foo/*', '/foo/a/b', true],
    ['/**/foo', '/a/b/foo', true],
    ['ba?', '/bar', true],
    ['ba?', '/ba', false],
    ['[a-c]x', '/bx', true],
    ['[^a-c]x', '/bx', false],
    ['a\\*', '/a*', true],
    ['a\\*', '/ab', false],
    ['a.b', '/aXb', false],
    ['Käse', `/${Buffer.from('Käse').toString('latin1')}`, true],
  ])('%s and %s: %s', (pattern, path, isMatch) => {
    expect(matches(pattern, path)).toBe(isMatch);
  });

  it.each(['', '/', '.', '[a', 'a['])('is not %j', (pattern) => {
    expect(() => PathPattern.parse(pattern)).toThrow(/no pattern/);
  });
});

describe('a filter of paths', () => {
  it('goes where something may be meant, and nowhere else', () => {
    const filter = new PathFilter({ include: ['/data/*.db', 'keep'], exclude: ['*.tmp'] });
    expect(filter.judge(['data'])).toBe('inside');
    expect(filter.judge(['data', 'a.db'])).toBe('whole');
    expect(filter.judge(['data', 'a.db', 'x.tmp'])).toBe('none');
    expect(filter.judge(['x', 'keep', 'y'])).toBe('whole');
    expect(filter.judge(['x.tmp', 'keep'])).toBe('none');
    const anchored = new PathFilter({ include: ['/data/*.db'] });
    expect(anchored.judge(['other'])).toBe('none');
    expect(anchored.judge(['data', 'a.txt'])).toBe('none');
    expect(new PathFilter({}).judge(['anything'])).toBe('whole');
  });
});
