import { describe, expect, it } from 'vitest';
import { progressOf, progressText } from './progress.ts';

const MIB = 2 ** 20;

describe('progress', () => {
  it('guesses the time that is left by the bytes, once there is something to go by', () => {
    const done = { files: 10, bytes: 100 * MIB };
    const expected = { files: 40, bytes: 300 * MIB };
    expect(progressOf(done, expected, 10_000)).toEqual({
      ...done,
      filesExpected: 40,
      bytesExpected: 300 * MIB,
      secondsLeft: 20,
    });
    expect(progressOf(done, expected, 1_000)).not.toHaveProperty('secondsLeft');
    expect(progressOf({ files: 0, bytes: 0 }, expected, 10_000)).not.toHaveProperty('secondsLeft');
    expect(progressOf(done, {}, 10_000)).toEqual(done);
  });

  it('never shows more done than expected', () => {
    const more = progressOf({ files: 5, bytes: 50 }, { files: 4, bytes: 40 }, 10_000);
    expect(more).toMatchObject({ filesExpected: 5, bytesExpected: 50, secondsLeft: 0 });
  });

  it('reads as one line', () => {
    const progress = progressOf({ files: 1, bytes: MIB }, { files: 2, bytes: 91 * MIB }, 2_000);
    expect(progressText('backup of db', progress)).toBe(
      'backup of db: 1 of 2 files, 1 MiB of 91 MiB, 3 min left',
    );
    expect(progressText('restore to db', { files: 1, bytes: 0 })).toBe(
      'restore to db: 1 files, 0 B',
    );
  });
});
