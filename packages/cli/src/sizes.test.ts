import { describe, expect, it } from 'vitest';
import { parseCount, parseMode, parseSize } from './sizes.ts';

describe('sizes', () => {
  it('takes every spelling of a binary unit', () => {
    for (const text of ['10G', '10g', '10Gi', '10GiB', '10GB', '10 GiB'])
      expect(parseSize(text)).toBe(10 * 2 ** 30);
    expect(parseSize('1.5k')).toBe(1536);
    expect(parseSize('4096')).toBe(4096);
    expect(parseSize('7b')).toBe(7);
  });

  it('refuses what is not a size and names the way out', () => {
    for (const text of ['', 'G', '-1G', '10X', '1e9', '99999999P', '10GG']) {
      expect(() => parseSize(text)).toThrow(/write a number and a unit/);
    }
  });
});

describe('counts and modes', () => {
  it('keeps counts in their range', () => {
    const replicas = parseCount('--replicas', 1, 7);
    expect(replicas('3')).toBe(3);
    for (const text of ['0', '8', '', 'x', '2.5', '-1'])
      expect(() => replicas(text)).toThrow(/from 1 to 7/);
  });

  it('reads octal modes', () => {
    expect(parseMode('0755')).toBe(0o755);
    for (const text of ['', '8', '77777', 'rwx']) expect(() => parseMode(text)).toThrow(/octal/);
  });
});
