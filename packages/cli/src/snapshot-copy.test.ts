import { resolve } from 'node:path';
import { HoldfastError } from '@holdfast/protocol';
import { describe, expect, it } from 'vitest';
import { missingIn, parseCopyDestination, parseCopySource } from './snapshot-copy.ts';

const BAD_REQUEST: unknown = expect.objectContaining({ code: 'BAD_REQUEST' });

describe('what is copied', () => {
  it.each([
    ['db@monday', []],
    ['db@monday/', []],
    ['db@monday/data/./users//', ['data', 'users']],
    ['db@monday/mail@example.org:1', ['mail@example.org:1']],
  ])('is read from %s', (text, names) => {
    expect(parseCopySource(text)).toEqual({ volume: 'db', snapshot: 'monday', names });
  });

  it.each(['', 'db', 'db/data@monday', 'db@', '@monday', 'db@monday/..', 'db@monday/a\0b'])(
    'is refused: %j',
    (text) => expect(() => parseCopySource(text)).toThrow(BAD_REQUEST),
  );

  it('is named as it was asked for when it is not there', () => {
    const source = parseCopySource('db@monday/Käse/日本');
    // What the tree says: names are bytes there.
    const gone = new HoldfastError('NOT_FOUND', 'K\xc3\xa4se/x is gone');
    expect(missingIn(gone, source)).toMatchObject({
      code: 'NOT_FOUND',
      message: "db@monday has no 'Käse/日本'",
    });
    const other = new HoldfastError('UNREACHABLE');
    expect(missingIn(other, source)).toBe(other);
  });
});

describe('where a copy goes', () => {
  it.each([
    ['/srv/data', '/srv/data', false],
    ['/srv/a:b', '/srv/a:b', false],
    ['./db:/x', resolve('db:/x'), false],
    ['data/', resolve('data'), true],
  ])('is a path of this host: %s', (text, path, mustBeDirectory) => {
    expect(parseCopyDestination(text)).toEqual({ where: 'host', path, mustBeDirectory });
  });

  it.each([
    ['db:/', [], true],
    ['db:/data/f', ['data', 'f'], false],
    ['db:/data/a:b/', ['data', 'a:b'], true],
  ])('is in a volume: %s', (text, names, mustBeDirectory) => {
    const to = { where: 'volume', volume: 'db', names, mustBeDirectory };
    expect(parseCopyDestination(text)).toEqual(to);
  });

  it.each(['', ':/x', 'db:', 'db:x', 'db:/../x'])('is refused: %j', (text) =>
    expect(() => parseCopyDestination(text)).toThrow(BAD_REQUEST),
  );
});
