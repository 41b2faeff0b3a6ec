import { execFile, execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  AzureStore,
  backup,
  DirectoryStore,
  findSnapshot,
  fixedCredentials,
  forget,
  initRepository,
  listSnapshots,
  openRepository,
  ownSurroundings,
  prune,
  type Repository,
  restore,
  S3Store,
  type Store,
  verify,
} from '@holdfast/backup';
import { DirectorySink, DirectorySource } from '@holdfast/tree';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestAzure } from '../azure/server.ts';
import { startTunnel } from '../azure/tunnel.ts';
import { makeCertificate } from '../object-stores/certificate.ts';
import type { Fault } from '../object-stores/server.ts';
import { startTestS3 } from '../s3/server.ts';

const PASSWORD = 'pass word';
const run = promisify(execFile);

/** Runs Debian's restic, which must succeed; what it printed. */
async function restic(
  repository: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const { stdout } = await run('restic', ['--no-cache', '--repo', repository, ...args], {
    env: { PATH: process.env['PATH'], RESTIC_PASSWORD: PASSWORD, ...env },
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout;
}

/** A tree with everything that restic 0.14 restores (it leaves sockets out). */
async function makeTree(path: string): Promise<void> {
  await mkdir(path);
  const script = `
    set -e; cd "$1"
    mkdir -p many deep/er/and/deeper empty; chmod 1777 empty; chmod 2750 deep
    head -c 9000000 /dev/urandom > large; head -c 3000000 /dev/zero > zeros
    truncate -s 30M sparse; echo end >> sparse
    for i in $(seq 400); do echo "file $i" > many/$i; done
    ln large deep/hard; ln -s ../nowhere deep/link; mkfifo deep/fifo
    mknod deep/null c 1 3; mknod deep/block b 7 200
    touch -d '2001-02-03 04:05:06.123456789' many/1; touch -h -d '1999-01-01 00:00:00.5' deep/link
    setfattr -n user.text -v value many/2; setfacl -m u:daemon:rw many/3; setfacl -d -m g:daemon:rx deep
    chown 999:998 many/4; chmod 6755 many/5; : > nothing
    printf x > "$(printf 'na\\377me "q" \\\\ \\n')"; printf y > 'Käse 日本'
  `;
  await run('bash', ['-c', script, 'bash', path]);
}

/** Everything about a tree that must survive, as text. */
function describeTree(path: string): string {
  const script = `
    cd "$1"; export LC_ALL=C
    find . -mindepth 1 -printf '%P %y %m %U %G %T@ %n %l\\n' | sort
    find . -type f -printf '%s %P\\n' | sort
    find . -type f -print0 | sort -z | xargs -0 sha256sum
    find . -type b -o -type c | sort | xargs stat -c '%n %t %T'
    getfattr -R -h -d -m- . 2>/dev/null
  `;
  return execFileSync('bash', ['-c', script, 'bash', path], { maxBuffer: 1 << 26 }).toString(
    'latin1',
  );
}

/** The judge's questions, asked of a repository wherever it lies. */
async function judge(
  place: { store: Store; url: string; env: Readonly<Record<string, string>> },
  root: string,
): Promise<void> {
  const { store, url, env } = place;
  const source = join(root, 'source');
  const ours = await initRepository({ store, password: PASSWORD });
  const options = { source: new DirectorySource(source), path: '/volumes/data', tags: ['ours'] };
  await backup(ours, { ...options, timeNs: 1_600_000_000_000_000_001n });
  const { snapshot, counts } = await backup(ours, options);
  expect(counts.bytesRead).toBe(0);
  expect(JSON.parse(await restic(url, ['cat', 'config'], env))).toMatchObject({ version: 2 });
  expect(JSON.parse(await restic(url, ['snapshots', '--json'], env))).toMatchObject([
    { paths: ['/volumes/data'], tags: ['ours'], time: '2020-09-13T12:26:40.000000001Z' },
    { id: snapshot.id },
  ]);
  expect(await restic(url, ['check', '--read-data'], env)).toContain('no errors were found');
  const theirs = join(root, 'theirs');
  await restic(url, ['restore', snapshot.id, '--target', theirs], env);
  expect(describeTree(join(theirs, 'volumes', 'data'))).toBe(describeTree(source));
  await rm(theirs, { recursive: true });
  await together({ ...place, ours }, root);
}

/** Both write to one repository, forget and prune in turn. */
async function together(
  place: { url: string; env: Readonly<Record<string, string>>; ours: Repository },
  root: string,
): Promise<void> {
  const { url, env, ours } = place;
  const source = join(root, 'source');
  await restic(url, ['backup', source, '--host', 'theirs'], env);
  const written = await findSnapshot(ours, 'latest', { hostname: 'theirs' });
  const target = join(root, 'target');
  const counts = await restore(ours, {
    snapshot: written,
    path: source,
    sink: new DirectorySink(target),
  });
  expect(counts.problems).toBe(0);
  expect(describeTree(target)).toBe(describeTree(source));
  await rm(target, { recursive: true });
  await restic(url, ['forget', '--keep-last', '1', '--prune'], env);
  expect(await verify(ours, { readData: 'all' })).toMatchObject({ snapshots: 2, problems: [] });
  await forget(ours, { policy: { keepLast: 1 }, hostname: 'theirs' });
  await restic(url, ['forget', (await listSnapshots(ours))[0]?.id ?? ''], env);
  const { bytesFreed } = await prune(ours);
  expect(bytesFreed).toBeGreaterThan(1_000_000);
  expect(await restic(url, ['check', '--read-data'], env)).toContain('no errors were found');
  expect(await restic(url, ['list', 'locks'], env)).toBe('');
}

const FAULTS: readonly Fault[] = [
  { what: 'status', status: 503, code: 'SlowDown' },
  { what: 'status', status: 500, code: 'InternalError' },
  { what: 'cut-body' },
];

describe('restic', () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'holdfast-restic-'));
    await makeTree(join(root, 'source'));
  });
  afterAll(async () => {
    await rm(root, { recursive: true, force: true });
  });

  it('reads, checks, restores, extends and prunes what Holdfast wrote, and the other way round', async () => {
    const url = join(root, 'repository');
    await judge({ store: new DirectoryStore(url), url, env: {} }, root);
  });

  it('does the same with both in a bucket, over an object store that fails at every ninth request', async () => {
    const keys = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a/secret+key' };
    const server = await startTestS3({ bucket: 'backups', ...keys });
    let requests = 0;
    server.behaviour.fault = () => (++requests % 9 === 0 ? FAULTS[(requests / 9) % 3] : undefined);
    const endpoint = `http://127.0.0.1:${server.port}`;
    const { sleep, nowMs } = ownSurroundings();
    const store = new S3Store({
      endpoint,
      bucket: 'backups',
      prefix: 'holdfast',
      pathStyle: true,
      credentials: fixedCredentials(keys),
      surroundings: { nowMs, random: Math.random, sleep: (ms, signal) => sleep(ms / 100, signal) },
    });
    const env = {
      AWS_ACCESS_KEY_ID: keys.accessKeyId,
      AWS_SECRET_ACCESS_KEY: keys.secretAccessKey,
    };
    try {
      await judge({ store, url: `s3:${endpoint}/backups/holdfast`, env }, root);
    } finally {
      store.close();
      await server.close();
    }
    expect(requests).toBeGreaterThan(100);
  });

  it('reads, checks and extends what Holdfast wrote into a container of Azure', async () => {
    const host = 'account1.blob.core.windows.net';
    const keys = { account: 'account1', key: Buffer.from('a key').toString('base64') };
    const tls = makeCertificate(root, [host]);
    const server = await startTestAzure({ ...keys, container: 'backups', tls });
    const tunnel = await startTunnel(server.port);
    const { sleep, nowMs } = ownSurroundings();
    const store = new AzureStore({
      account: { name: keys.account, endpoint: `https://${host}:${server.port}`, key: keys.key },
      container: 'backups',
      prefix: 'holdfast',
      ca: tls.cert,
      lookup: (_name, { all }, done) =>
        all === true
          ? done(null, [{ address: '127.0.0.1', family: 4 }])
          : done(null, '127.0.0.1', 4),
      surroundings: { nowMs, random: Math.random, sleep },
    });
    const env = {
      AZURE_ACCOUNT_NAME: keys.account,
      AZURE_ACCOUNT_KEY: keys.key,
      HTTPS_PROXY: tunnel.url,
      SSL_CERT_FILE: join(root, 'cert.pem'),
    };
    try {
      const url = 'azure:backups:/holdfast';
      const source = join(root, 'source');
      const ours = await initRepository({ store, password: PASSWORD });
      const { snapshot } = await backup(ours, {
        source: new DirectorySource(source),
        path: '/ours',
      });
      expect(await restic(url, ['check', '--read-data'], env)).toContain('no errors were found');
      await restic(url, ['backup', join(source, 'many')], env);
      await restic(url, ['forget', snapshot.id, '--prune'], env);
      expect(await verify(ours, { readData: 'all' })).toMatchObject({ snapshots: 1, problems: [] });
    } finally {
      store.close();
      await tunnel.close();
      await server.close();
    }
  });

  it('adds a password to a repository of Holdfast, which opens with it', async () => {
    const url = join(root, 'passwords');
    const store = new DirectoryStore(url);
    await initRepository({ store, password: PASSWORD });
    await writeFile(join(root, 'second'), 'second\n');
    await restic(url, ['key', 'add', '--new-password-file', join(root, 'second')]);
    await openRepository({ store, password: 'second' });
  });

  it.each(['1', '2'])(
    'made a repository of version %s, which Holdfast restores and extends',
    async (version) => {
      const url = join(root, `version ${version}`);
      await restic(url, ['init', '--repository-version', version]);
      await restic(url, ['backup', join(root, 'source')]);
      const repository = await openRepository({
        store: new DirectoryStore(url),
        password: PASSWORD,
      });
      const target = join(root, 'target');
      const snapshot = await findSnapshot(repository, 'latest');
      await restore(repository, {
        snapshot,
        path: join(root, 'source'),
        sink: new DirectorySink(target),
      });
      expect(describeTree(target)).toBe(describeTree(join(root, 'source')));
      await rm(target, { recursive: true });
      await backup(repository, {
        source: new DirectorySource(join(root, 'source')),
        path: '/ours',
      });
      expect(await restic(url, ['check', '--read-data'])).toContain('no errors were found');
    },
  );

  it('respects the locks of Holdfast, and Holdfast those of restic', async () => {
    const url = join(root, 'locks');
    await restic(url, ['init']);
    const repository = await openRepository({ store: new DirectoryStore(url), password: PASSWORD });
    const document = {
      time: new Date().toISOString(),
      exclusive: true,
      hostname: 'elsewhere',
      username: 'root',
      pid: 1,
    };
    const id = await repository.save('locks', document);
    await expect(restic(url, ['backup', join(root, 'source')])).rejects.toThrow(
      /locked exclusively/,
    );
    await expect(prune(repository)).rejects.toMatchObject({ code: 'EBUSY' });
    await repository.store.delete(`locks/${id}`);
    await prune(repository);
  });
});
