import { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { asKnown, describeFailure, exitStatusOf, failureAsJson } from './failures.ts';

describe('an error of the operating system', () => {
  it.each([
    ['ENOSPC', /make room/],
    ['EROFS', /read-only/],
    ['EACCES', /as root/],
  ])('%s keeps its code and tells the way out', (code, way) => {
    const cause = Object.assign(new Error(`${code}: mkdir '/x'`), { code });
    const known = asKnown(cause);
    expect(describeFailure(known)).toMatch(way);
    expect(describeFailure(known)).toContain("mkdir '/x'");
    expect(JSON.parse(failureAsJson(known))).toMatchObject({ error: { code } });
    expect(exitStatusOf(known)).toBe(1);
  });

  it('is left as it is when there is nothing to say, or it was said', () => {
    const known = new HoldfastError('EACCES', 'said');
    expect(asKnown(known)).toBe(known);
    const other = Object.assign(new Error('x'), { code: 'EEXIST' });
    expect(asKnown(other)).toBe(other);
    expect(asKnown('text')).toBe('text');
  });
});

describe('the exit status', () => {
  it('of a path of the wrong kind is that of bad usage, whichever way round', () => {
    expect(exitStatusOf(new HoldfastError('EISDIR'))).toBe(2);
    expect(exitStatusOf(new HoldfastError('ENOTDIR'))).toBe(2);
  });
});
