import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { renewBy } from './renewal.ts';

describe('renewing by a program', () => {
  let folder: string;
  let program: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-renewal-'));
    program = join(folder, 'holdfast');
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('names the data directory', async () => {
    writeFileSync(program, `#!/bin/sh\necho "$@" >${folder}/said\n`, { mode: 0o755 });
    await renewBy(program, '/data dir');
    expect(readFileSync(join(folder, 'said'), 'utf8')).toBe('--data /data dir certificate renew\n');
  });

  it('says why it failed', async () => {
    writeFileSync(program, '#!/bin/sh\necho no peer answers >&2; exit 1\n', { mode: 0o755 });
    await expect(renewBy(program, '/d')).rejects.toThrow('no peer answers');
    await expect(renewBy(join(folder, 'none'), '/d')).rejects.toThrow('ENOENT');
  });
});
