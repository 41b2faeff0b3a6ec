import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clearState, loadInit, type SavedInit, saveInit, Watermark } from './restart.ts';

describe('the state of a connection', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-state-'));
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const SAVED: SavedInit = {
    requestId: 2,
    agreement: { minor: 45, flags: (1n << 39n) | 5n, maxReadaheadBytes: 131_072 },
  };

  it('is absent at first and comes back as it was saved', () => {
    expect(loadInit(directory)).toBeUndefined();
    saveInit(directory, SAVED);
    expect(loadInit(directory)).toEqual(SAVED);
  });

  it.each([
    ['is not JSON', 'x', 'CORRUPT'],
    ['lacks a field', '{"version":1,"requestId":2,"minor":45}', 'CORRUPT'],
    ['is of a newer version', '{"version":2}', 'NEWER_FORMAT'],
    ['is null', 'null', 'CORRUPT'],
  ])('is refused when it %s', (_title, text, code) => {
    writeFileSync(join(directory, 'init.json'), text);
    expect(() => loadInit(directory)).toThrow(expect.objectContaining({ code }));
  });

  it('is cleared whole, and nothing else', () => {
    saveInit(directory, SAVED);
    mkdirSync(join(directory, 'session'));
    for (const name of ['handles', 'watermark', 'session/requests', 'keeper.pid']) {
      writeFileSync(join(directory, name), '');
    }
    clearState(directory);
    expect(readdirSync(directory)).toEqual(['keeper.pid']);
  });

  it('has a watermark that is written when it has grown by a step', () => {
    const first = new Watermark(directory, 100);
    expect(first.found).toBe(0);
    first.advance(99);
    first.advance(2 ** 33);
    first.advance(2 ** 33 + 99);
    const second = new Watermark(directory, 100);
    expect(second.found).toBe(2 ** 33);
    first.close();
    second.close();
  });
});
