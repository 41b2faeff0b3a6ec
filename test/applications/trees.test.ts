import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LocalCluster, startLocalCluster } from '../demo/local-cluster.ts';
import { command } from './processes.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));

describe('real trees', () => {
  let cluster: LocalCluster;
  let scratch: string;
  beforeAll(async () => {
    scratch = mkdtempSync(join(tmpdir(), 'holdfast-trees-'));
    cluster = await startLocalCluster({ peers: 3 });
    await cluster.volume('trees');
  });
  afterAll(async () => {
    await cluster?.close();
    rmSync(scratch, { recursive: true, force: true });
  });

  it('a tar extracted on one host is the same, byte for byte, on another', async () => {
    const archive = join(scratch, 'include.tar');
    await command('tar', ['-C', '/usr/include', '-cf', archive, 'linux', 'asm-generic']);
    const here = join(cluster.peer(0).mountPath, 'trees', 'include');
    await command('mkdir', [here]);
    await command('tar', ['-C', here, '-xpf', archive]);
    const there = join(cluster.peer(1).mountPath, 'trees', 'include');
    for (const part of ['linux', 'asm-generic']) {
      expect(
        await command('diff', [
          '-r',
          '--no-dereference',
          join('/usr/include', part),
          join(there, part),
        ]),
      ).toBe('');
    }
    // tar compares types, modes, owners, times, sizes and contents.
    expect(await command('tar', ['-C', there, '--diff', '-f', archive])).toBe('');
  });

  it('git clones a repository, fsck finds it sound, and the other host can commit to it', async () => {
    const source = join(scratch, 'source.git');
    await command('git', ['clone', '-q', '--bare', PROJECT, source]);
    const here = join(cluster.peer(0).mountPath, 'trees', 'clone');
    await command('git', ['clone', '-q', source, here]);
    await command('git', ['-C', here, 'fsck', '--full', '--strict']);
    const there = join(cluster.peer(2).mountPath, 'trees', 'clone');
    const identity = [
      '-c',
      'user.name=Test',
      '-c',
      'user.email=test@example.org',
      '-c',
      'safe.directory=*',
    ];
    await command('git', [
      '-C',
      there,
      ...identity,
      'commit',
      '-q',
      '--allow-empty',
      '-m',
      'from another host',
    ]);
    const head = await command('git', ['-C', there, ...identity, 'rev-parse', 'HEAD']);
    expect(await command('git', ['-C', here, ...identity, 'rev-parse', 'HEAD'])).toBe(head);
    expect(await command('git', ['-C', here, ...identity, 'status', '--porcelain'])).toBe('');
  });
});
