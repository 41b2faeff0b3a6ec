import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkOwnAddress } from './addresses.ts';
import { makeDirectory } from './durable-files.ts';

describe("a host's own address", () => {
  it.each([
    '10.0.0.1',
    '127.0.0.1',
    '::1',
    'fd00::7',
    'db-1.example.org',
    'host1',
    'h_1',
    '1and1.de',
  ])('may be %s', (address) => {
    expect(() => checkOwnAddress(address)).not.toThrow();
  });

  it.each([
    ['0.0.0.0', /not the address of one host/],
    ['::', /not the address of one host/],
    ['0:0::0', /not the address of one host/],
    ['224.0.0.1', /not the address of one host/],
    ['255.255.255.255', /not the address of one host/],
    ['ff02::1', /not the address of one host/],
    ['999.1.1.1', /no complete IPv4/],
    ['1.2.3', /no complete IPv4/],
    ['', /is no address/],
    ['a b', /is no address/],
    ['-x', /is no address/],
    ['host:7400', /is no address/],
    ['http://host', /is no address/],
  ])('is not %j', (address, message) => {
    expect(() => checkOwnAddress(address)).toThrow(message);
  });
});

describe('making a directory durably', () => {
  it('makes what is missing, and ends where nothing can be made', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'holdfast-made-'));
    try {
      await makeDirectory(join(folder, 'a', 'b'), 0o700);
      await makeDirectory(join(folder, 'a', 'b'), 0o700);
      expect(statSync(join(folder, 'a', 'b')).mode & 0o777).toBe(0o700);
    } finally {
      rmSync(folder, { recursive: true });
    }
    await expect(makeDirectory('/proc/holdfast/x')).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(makeDirectory('/proc/version')).rejects.toMatchObject({ code: 'EEXIST' });
  });
});
