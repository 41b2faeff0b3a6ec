import { mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Mounts } from './mounts.ts';
import { QuietLog } from './testing/quiet-log.ts';

describe('mount counts', () => {
  let folder: string;
  let log: QuietLog;
  const open = (bootId = 'boot-1'): Mounts => new Mounts(join(folder, 'mounts.json'), bootId, log);

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-mounts-'));
    log = new QuietLog();
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('count two mounts under one id as two', () => {
    const mounts = open();
    mounts.add('v', 'a');
    mounts.add('v', 'a');
    mounts.add('v', 'b');
    expect(mounts.count('v')).toBe(3);
    expect(mounts.release('v', 'a')).toBe(true);
    expect(mounts.count('v')).toBe(2);
    mounts.release('v', 'b');
    mounts.release('v', 'a');
    expect(mounts.count('v')).toBe(0);
    expect(mounts.volumes).toEqual([]);
  });

  it('are not changed by an unmount too many', () => {
    const mounts = open();
    mounts.add('v', 'a');
    expect(mounts.release('v', 'b')).toBe(false);
    expect(mounts.release('w', 'a')).toBe(false);
    expect(mounts.count('v')).toBe(1);
  });

  it('go on after a restart of the driver, as suspects', () => {
    open().add('v', 'a');
    const again = open();
    expect(again.count('v')).toBe(1);
    expect([...again.suspicions('v')]).toEqual(['driver']);
    expect(again.release('v', 'a')).toBe(true);
    expect(open().count('v')).toBe(0);
  });

  it('are gone after a boot', () => {
    open().add('v', 'a');
    expect(open('boot-2').volumes).toEqual([]);
  });

  it('are suspect when a new engine comes, those after it are not', () => {
    const mounts = open();
    mounts.add('v', 'a');
    mounts.engineChanged();
    mounts.add('v', 'a'); // the engine kept the id over its crash
    expect(mounts.count('v')).toBe(2);
    mounts.dropSuspects('v', ['engine']);
    expect(mounts.count('v')).toBe(1);
    expect(mounts.suspicions('v').size).toBe(0);
  });

  it('take back what is certain before what is suspect', () => {
    const mounts = open();
    mounts.add('v', 'a');
    mounts.engineChanged();
    mounts.add('v', 'a');
    mounts.release('v', 'a');
    expect([...mounts.suspicions('v')]).toEqual(['engine']);
  });

  it('start anew when their file is damaged, and keep the damaged one', () => {
    open().add('v', 'a');
    truncateSync(join(folder, 'mounts.json'), 20);
    expect(open().volumes).toEqual([]);
    expect(log.events).toContain('state.damaged');
    expect(readdirSync(folder)).toContain('mounts.json.damaged');
  });

  it('refuse a file of a newer version and leave it as it is', () => {
    writeFileSync(join(folder, 'mounts.json'), '{"version":2,"content":{}}');
    expect(() => open()).toThrow(expect.objectContaining({ code: 'NEWER_FORMAT' }));
    expect(readdirSync(folder)).toEqual(['mounts.json']);
  });

  it('do not count what they cannot keep', () => {
    const mounts = open();
    rmSync(folder, { recursive: true });
    expect(() => mounts.add('v', 'a')).toThrow(expect.objectContaining({ code: 'DISK_FAILED' }));
    expect(mounts.count('v')).toBe(0);
    folder = mkdtempSync(join(tmpdir(), 'holdfast-mounts-'));
  });
});
