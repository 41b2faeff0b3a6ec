import { describe, expect, it } from 'vitest';
import { checkToken, createToken, parseToken } from './tokens.ts';

const digest = 'ab'.repeat(32);
const now = Date.parse('2026-01-02T00:00:00Z');

function stored(expiresAt = '', revoked = false) {
  const token = createToken(digest, 'client', expiresAt);
  return { text: token.text, record: { ...token.record, revoked, createdAt: '' } };
}

describe('tokens', () => {
  it('come back from their text and admit to their role', () => {
    const { text, record } = stored('2026-01-03T00:00:00Z');
    expect(text).toMatch(/^HFTKN-1-[0-9a-f]{64}-[0-9a-f]{12}-[0-9a-f]{32}$/);
    expect(checkToken(parseToken(` ${text}\n`), record, digest, now)).toBe('client');
  });

  it('keep their secret out of the registry', () => {
    const { text, record } = stored();
    expect(JSON.stringify(record)).not.toContain(parseToken(text).secret);
  });

  it.each([
    '',
    'HFTKN',
    'HFTKN-1-abc',
    `SWMTKN-1-${digest}-x-y`,
    `HFTKN-1-${digest}-${'0'.repeat(12)}`,
  ])('that are malformed are refused with the way out: %s', (text) => {
    expect(() => parseToken(text)).toThrow(expect.objectContaining({ code: 'BAD_TOKEN' }));
    expect(() => parseToken(text)).toThrow(/holdfast token create/);
  });

  it('of a newer version say so', () => {
    expect(() => parseToken('HFTKN-2-what')).toThrow(/newer version/);
  });

  it.each([
    ['of another cluster', () => ({ ...stored(), digest: 'cd'.repeat(32) }), /another cluster/],
    ['that are revoked', () => stored('', true), /revoked/],
    ['that have expired', () => stored('2026-01-01T00:00:00Z'), /expired at 2026-01-01/],
    ['of unknown id', () => ({ ...stored(), record: undefined }), /does not know/],
    ['with a wrong secret', () => ({ ...stored(), text: stored().text }), /does not know/],
  ] as const)('%s are refused', (_what, make, message) => {
    const made: {
      text: string;
      record?: ReturnType<typeof stored>['record'] | undefined;
      digest?: string;
    } = make();
    const check = () => checkToken(parseToken(made.text), made.record, made.digest ?? digest, now);
    expect(check).toThrow(message);
    expect(check).toThrow(expect.objectContaining({ code: 'BAD_TOKEN' }));
  });
});
