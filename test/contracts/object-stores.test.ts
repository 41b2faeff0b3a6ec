import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DirectoryStore,
  fixedCredentials,
  ownSurroundings,
  type S3Options,
  S3Store,
  type Store,
} from '@holdfast/backup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Fault, startTestS3, type TestS3 } from '../s3/server.ts';

const BUCKET = 'backups';
const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a/secret+key' };
/** Pauses take no time; their number is bounded all the same. */
const surroundings = { nowMs: () => Date.now(), random: () => 0.5, sleep: async () => {} };

function s3(server: TestS3, options: Partial<S3Options> = {}): S3Store {
  return new S3Store({
    endpoint: `http://127.0.0.1:${server.port}`,
    bucket: BUCKET,
    prefix: 'a/prefix',
    pathStyle: true,
    credentials: fixedCredentials(KEYS),
    surroundings,
    ...options,
  });
}

async function listed(store: Store, folder: string): Promise<string[]> {
  const objects: string[] = [];
  for await (const { key, bytes } of store.list(folder)) objects.push(`${key} ${bytes}`);
  return objects.toSorted();
}

/** What every store promises. */
async function keepsTheContract(store: Store): Promise<void> {
  const bytes = Buffer.from('0123456789');
  expect(await store.size('data/ab/abc')).toBeUndefined();
  await expect(store.get('data/ab/abc')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect(await listed(store, 'data/')).toEqual([]);
  expect(await store.put('data/ab/abc', bytes)).toBe('created');
  expect(await store.put('data/ab/abc', Buffer.from('other'))).toBe('exists');
  expect(Buffer.from(await store.get('data/ab/abc')).toString()).toBe('0123456789');
  const part = await store.get('data/ab/abc', { offset: 3, length: 4 });
  expect(Buffer.from(part).toString()).toBe('3456');
  expect(await store.get('data/ab/abc', { offset: 3, length: 0 })).toHaveLength(0);
  for (const range of [
    { offset: 8, length: 3 },
    { offset: 10, length: 1 },
    { offset: 20, length: 1 },
  ])
    await expect(store.get('data/ab/abc', range)).rejects.toMatchObject({ code: 'CORRUPT' });
  expect(await store.size('data/ab/abc')).toBe(10);
  expect(await store.put('empty', new Uint8Array(0))).toBe('created');
  expect(await store.get('empty')).toHaveLength(0);
  for (const name of ['ab/abd', 'cd/cde', 'cd/cdf']) await store.put(`data/${name}`, bytes);
  await store.put('index/x', bytes);
  const all = ['data/ab/abc 10', 'data/ab/abd 10', 'data/cd/cde 10', 'data/cd/cdf 10'];
  expect(await listed(store, 'data/')).toEqual(all);
  await store.delete('data/ab/abc');
  await store.delete('data/ab/abc');
  expect(await listed(store, 'data/')).toEqual(all.slice(1));
  const puts = await Promise.all(Array.from({ length: 4 }, () => store.put('same', bytes)));
  expect(puts.toSorted()).toEqual(['created', 'exists', 'exists', 'exists']);
}

describe('an object store', () => {
  let root: string;
  let server: TestS3;
  let secure: TestS3;
  let certificate: string;
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'holdfast-stores-'));
    const [key, cert] = [join(root, 'key.pem'), join(root, 'cert.pem')];
    const subject = ['-subj', '/CN=test', '-addext', 'subjectAltName=DNS:s3.test,DNS:*.s3.test'];
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1'];
    const files = ['-keyout', key, '-out', cert];
    execFileSync('openssl', ['req', '-x509', '-nodes', ...curve, ...files, ...subject], {
      stdio: 'ignore',
    });
    certificate = readFileSync(cert, 'utf8');
    const tls = { cert: certificate, key: readFileSync(key, 'utf8') };
    server = await startTestS3({ bucket: BUCKET, ...KEYS });
    secure = await startTestS3({ bucket: BUCKET, ...KEYS, tls });
  });
  afterAll(async () => {
    await server?.close();
    await secure?.close();
    rmSync(root, { recursive: true, force: true });
  });

  /** A store of its own prefix, while one thing goes wrong. */
  async function faulty<T>(
    fault: TestS3['behaviour']['fault'],
    task: (store: S3Store) => Promise<T>,
    options: Partial<S3Options> = {},
  ): Promise<T> {
    const store = s3(server, options);
    server.behaviour.fault = fault;
    try {
      return await task(store);
    } finally {
      server.behaviour.fault = () => undefined;
      store.close();
    }
  }

  it('in a directory keeps the contract', async () => {
    await keepsTheContract(new DirectoryStore(join(root, 'directory')));
  });

  it('in a bucket keeps the contract, over several pages of a listing', async () => {
    server.behaviour.pageLength = 3;
    const store = s3(server, { prefix: 'contract' });
    await keepsTheContract(store);
    store.close();
    server.behaviour.pageLength = 1000;
  });

  it('in a bucket is reached by its name as host, over TLS of an authority of its own', async () => {
    const options: Partial<S3Options> = {
      endpoint: `https://s3.test:${secure.port}`,
      pathStyle: false,
      lookup: (_name, { all }, done) =>
        all === true
          ? done(null, [{ address: '127.0.0.1', family: 4 }])
          : done(null, '127.0.0.1', 4),
    };
    const store = s3(secure, { ...options, ca: certificate });
    await keepsTheContract(store);
    store.close();
    const retry = { attempts: 2, firstPauseMs: 1, pauseMsMax: 1 };
    const wary = s3(secure, { ...options, retry });
    await expect(wary.size('config')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    wary.close();
  });

  it('without conditional puts looks before it writes', async () => {
    server.behaviour.isConditional = false;
    const store = s3(server, { prefix: 'old' });
    expect(await store.put('a', Buffer.from('1'))).toBe('created');
    expect(await store.put('a', Buffer.from('2'))).toBe('exists');
    store.close();
    server.behaviour.isConditional = true;
  });

  it.each<Fault>([
    { what: 'status', status: 500, code: 'InternalError' },
    { what: 'status', status: 503, code: 'SlowDown' },
    { what: 'cut-body' },
    { what: 'lost-answer' },
  ])('rides over two faults in a row: %j', async (fault) => {
    const prefix = `faults-${JSON.stringify(fault)}`.replace(/[^a-z0-9]+/gi, '-');
    let left = 0;
    await faulty(
      () => (left-- > 0 ? fault : undefined),
      async (store) => {
        left = 2;
        expect(await store.put('locks/a', Buffer.from('bytes'))).toBe('created');
        left = 2;
        expect(Buffer.from(await store.get('locks/a')).toString()).toBe('bytes');
        left = 2;
        expect(await listed(store, 'locks/')).toEqual(['locks/a 5']);
        left = 2;
        await store.delete('locks/a');
        expect(await store.size('locks/a')).toBeUndefined();
      },
      { prefix },
    );
  });

  it('gives up after as many attempts as its policy says', async () => {
    let requests = 0;
    const retry = { attempts: 4, firstPauseMs: 1, pauseMsMax: 1 };
    const fail = (): Fault => {
      requests++;
      return { what: 'status', status: 503, code: 'SlowDown' };
    };
    await faulty(
      fail,
      (store) =>
        expect(store.get('a')).rejects.toMatchObject({
          code: 'UNREACHABLE',
          detail: { status: 503 },
        }),
      { retry },
    );
    expect(requests).toBe(4);
  });

  it('gives up a request that gets no byte, and asks again', async () => {
    let isFirst = true;
    const hang = (): Fault | undefined => {
      if (!isFirst) return undefined;
      isFirst = false;
      return { what: 'slow', ms: 2000 };
    };
    await faulty(hang, async (store) => expect(await store.size('none')).toBeUndefined(), {
      idleMs: 100,
    });
  });

  it('signs by the clock of a store that is an hour ahead', async () => {
    server.behaviour.clockAheadMs = 3_600_000;
    const store = s3(server, { prefix: 'ahead' });
    expect(await store.put('a', Buffer.from('1'))).toBe('created');
    store.close();
    server.behaviour.clockAheadMs = 0;
  });

  it('is not opened with a wrong secret, and that is not tried again', async () => {
    const before = server.requests.length;
    const store = s3(server, { credentials: fixedCredentials({ ...KEYS, secretAccessKey: 'x' }) });
    await expect(store.get('a')).rejects.toMatchObject({
      code: 'FORBIDDEN',
      detail: { reason: 'SignatureDoesNotMatch' },
    });
    expect(server.requests.length - before).toBe(1);
    store.close();
  });

  it('stops when its caller stops', async () => {
    const stop = new AbortController();
    const sleep = ownSurroundings().sleep;
    await faulty(
      () => {
        stop.abort(new Error('stopped'));
        return { what: 'status', status: 503, code: 'SlowDown' };
      },
      (store) =>
        expect(store.get('a', undefined, stop.signal)).rejects.toThrow(/abort|stopped|503/),
      { surroundings: { ...surroundings, sleep } },
    );
  });
});
