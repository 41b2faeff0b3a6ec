import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type OpenFile, OpenHandles } from './handles.ts';

describe('OpenHandles', () => {
  let directory: string;
  let path: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'holdfast-handles-'));
    path = join(directory, 'handles');
  });
  afterEach(() => {
    rmSync(directory, { recursive: true });
  });

  const file = (ino: number, write = false): OpenFile => ({
    node: { volume: 3, ino } as never,
    write,
  });

  it('knows after a restart what was open', () => {
    const first = new OpenHandles(path);
    first.opened(4, file(7));
    first.opened(6, file(2 ** 40 - 1, true));
    first.opened(8, file(9));
    first.closed(4);
    // No close: the process was killed.
    const second = new OpenHandles(path);
    expect([...second.entries()]).toEqual([
      [6, file(2 ** 40 - 1, true)],
      [8, file(9)],
    ]);
    expect([second.get(4), second.get(8), second.size]).toEqual([undefined, file(9), 2]);
    first.close();
    second.close();
  });

  it('knows after a restart what a rollback has made void, and what was opened since', () => {
    const first = new OpenHandles(path);
    first.opened(4, file(7));
    const before = first.voided(3 as never);
    first.voidAll(3 as never);
    first.opened(6, file(8), before); // its open was under way
    first.opened(8, file(9, true));
    const second = new OpenHandles(path);
    expect([4, 6, 8].map((handle) => second.get(handle)?.isVoid)).toEqual([true, true, undefined]);
    second.closed(4);
    expect([...new OpenHandles(path).entries()]).toEqual([
      [6, { ...file(8), isVoid: true }],
      [8, file(9, true)],
    ]);
    first.close();
    second.close();
  });

  it('ignores a line that was cut off and goes on after it', () => {
    writeFileSync(path, '+4 3 7 r\n+6 3 8');
    const handles = new OpenHandles(path);
    handles.opened(8, file(9));
    expect([...handles.entries()].map(([handle]) => handle)).toEqual([4, 8]);
    expect(readFileSync(path, 'latin1')).toBe('+4 3 7 r\n+8 3 9 r\n');
    handles.close();
  });

  it('refuses what is no journal', () => {
    appendFileSync(path, '+4 3 7 x\n');
    expect(() => new OpenHandles(path)).toThrow(/journal of open files/);
  });

  it('stays small whatever is opened and closed', () => {
    const handles = new OpenHandles(path);
    for (let handle = 2; handle < 20_000; handle += 2) {
      handles.opened(handle, file(5));
      handles.closed(handle);
    }
    handles.opened(20_000, file(5));
    expect(readFileSync(path).length).toBeLessThan(100_000);
    handles.close();
    expect([...new OpenHandles(path).entries()]).toEqual([[20_000, file(5)]]);
  });

  it('works without a journal, and closing what is not open does nothing', () => {
    const handles = new OpenHandles();
    handles.opened(4, file(7));
    handles.closed(4);
    handles.closed(4);
    expect(handles.size).toBe(0);
  });
});
