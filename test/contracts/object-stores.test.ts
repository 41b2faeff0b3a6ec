import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AzureOptions,
  AzureStore,
  DirectoryStore,
  fixedCredentials,
  ownSurroundings,
  type S3Options,
  S3Store,
  type Store,
} from '@holdfast/backup';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestAzure } from '../azure/server.ts';
import { sharedAccessSignature } from '../azure/signature.ts';
import { makeCertificate } from '../object-stores/certificate.ts';
import type { Fault, ObjectServer, ServerTls } from '../object-stores/server.ts';
import { startTestS3 } from '../s3/server.ts';

const BUCKET = 'backups';
const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'a/secret+key' };
const ACCOUNT = { account: 'account1', container: BUCKET };
const ACCOUNT_KEY = Buffer.from('the key of an account').toString('base64');
/** Pauses take no time; their number is bounded all the same. */
const surroundings = { nowMs: () => Date.now(), random: () => 0.5, sleep: async () => {} };
/** All names lead to this machine. */
const lookup: S3Options['lookup'] = (_name, { all }, done) =>
  all === true ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);

function s3(server: ObjectServer, options: Partial<S3Options> = {}): S3Store {
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

function azure(server: ObjectServer, options: Partial<AzureOptions> = {}): AzureStore {
  const endpoint = `http://127.0.0.1:${server.port}/${ACCOUNT.account}`;
  return new AzureStore({
    account: { name: ACCOUNT.account, endpoint, key: ACCOUNT_KEY },
    container: BUCKET,
    prefix: 'a/prefix',
    surroundings,
    ...options,
  });
}

/** Options that all stores behind HTTP have. */
type Shared = Pick<S3Options, 'prefix' | 'retry' | 'idleMs' | 'surroundings' | 'ca'>;

interface Kind {
  readonly name: string;
  readonly start: (tls?: ServerTls) => Promise<ObjectServer>;
  readonly store: (server: ObjectServer, options?: Partial<Shared>) => S3Store | AzureStore;
  /** With the name of the bucket or account as host, over TLS. */
  readonly inHost: (server: ObjectServer, options?: Partial<Shared>) => S3Store | AzureStore;
  readonly withWrongKey: (server: ObjectServer) => S3Store | AzureStore;
  readonly refusal: string;
}

const KINDS: readonly Kind[] = [
  {
    name: 'in a bucket of S3',
    start: (tls) => startTestS3({ bucket: BUCKET, ...KEYS, ...(tls && { tls }) }),
    store: s3,
    inHost: (server, options) => {
      const endpoint = `https://s3.test:${server.port}`;
      return s3(server, { endpoint, pathStyle: false, lookup, ...options });
    },
    withWrongKey: (server) =>
      s3(server, { credentials: fixedCredentials({ ...KEYS, secretAccessKey: 'x' }) }),
    refusal: 'SignatureDoesNotMatch',
  },
  {
    name: 'in a container of Azure',
    start: (tls) => startTestAzure({ ...ACCOUNT, key: ACCOUNT_KEY, ...(tls && { tls }) }),
    store: azure,
    inHost: (server, options) => {
      const endpoint = `https://${ACCOUNT.account}.s3.test:${server.port}`;
      const account = { name: ACCOUNT.account, endpoint, key: ACCOUNT_KEY };
      return azure(server, { account, lookup, ...options });
    },
    withWrongKey: (server) => {
      const endpoint = `http://127.0.0.1:${server.port}/${ACCOUNT.account}`;
      return azure(server, { account: { name: ACCOUNT.account, endpoint, key: 'd3Jvbmc=' } });
    },
    refusal: 'AuthenticationFailed',
  },
];

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

describe('an object store in a directory', () => {
  it('keeps the contract', async () => {
    const root = mkdtempSync(join(tmpdir(), 'holdfast-stores-'));
    await keepsTheContract(new DirectoryStore(join(root, 'directory')));
    rmSync(root, { recursive: true });
  });
});

describe.each(KINDS)('an object store $name', (kind) => {
  let root: string;
  let server: ObjectServer;
  let secure: ObjectServer;
  let certificate: string;
  beforeAll(async () => {
    root = mkdtempSync(join(tmpdir(), 'holdfast-stores-'));
    const tls = makeCertificate(root, ['s3.test', '*.s3.test']);
    certificate = tls.cert;
    server = await kind.start();
    secure = await kind.start(tls);
  });
  afterAll(async () => {
    await server?.close();
    await secure?.close();
    rmSync(root, { recursive: true, force: true });
  });

  /** A store of its own prefix, while one thing goes wrong. */
  async function faulty<T>(
    fault: ObjectServer['behaviour']['fault'],
    task: (store: Store) => Promise<T>,
    options: Partial<Shared> = {},
  ): Promise<T> {
    const store = kind.store(server, options);
    server.behaviour.fault = fault;
    try {
      return await task(store);
    } finally {
      server.behaviour.fault = () => undefined;
      store.close();
    }
  }

  it('keeps the contract, over several pages of a listing', async () => {
    server.behaviour.pageLength = 3;
    const store = kind.store(server, { prefix: 'contract' });
    await keepsTheContract(store);
    store.close();
    server.behaviour.pageLength = 1000;
  });

  it('is reached by its name as host, over TLS of an authority of its own', async () => {
    const store = kind.inHost(secure, { ca: certificate });
    await keepsTheContract(store);
    store.close();
    const wary = kind.inHost(secure, { retry: { attempts: 2, firstPauseMs: 1, pauseMsMax: 1 } });
    await expect(wary.size('config')).rejects.toMatchObject({ code: 'UNREACHABLE' });
    wary.close();
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
    const store = kind.store(server, { prefix: 'ahead' });
    expect(await store.put('a', Buffer.from('1'))).toBe('created');
    store.close();
    // The answer to this has no body that could tell why it is refused.
    const first = kind.store(server, { prefix: 'ahead' });
    expect(await first.size('a')).toBe(1);
    first.close();
    server.behaviour.clockAheadMs = 0;
  });

  it('is not opened with a wrong secret, and that is not tried again', async () => {
    const before = server.requests.length;
    const store = kind.withWrongKey(server);
    await expect(store.get('a')).rejects.toMatchObject({
      code: 'FORBIDDEN',
      detail: { reason: kind.refusal },
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

describe('a bucket of S3', () => {
  it('without conditional puts looks before it writes', async () => {
    const server = await startTestS3({ bucket: BUCKET, ...KEYS });
    server.behaviour.isConditional = false;
    const store = s3(server, { prefix: 'old' });
    expect(await store.put('a', Buffer.from('1'))).toBe('created');
    expect(await store.put('a', Buffer.from('2'))).toBe('exists');
    store.close();
    await server.close();
  });
});

describe('a container of Azure', () => {
  const keys = { ...ACCOUNT, key: ACCOUNT_KEY };
  const expires = '2100-01-01T00:00:00Z';

  it('is opened by a shared access signature, for what this allows', async () => {
    const server = await startTestAzure(keys);
    const endpoint = `http://127.0.0.1:${server.port}/${ACCOUNT.account}`;
    const by = (permissions: string): AzureStore => {
      const sas = sharedAccessSignature(keys, { permissions, expires });
      return azure(server, { account: { name: ACCOUNT.account, endpoint, sas } });
    };
    await keepsTheContract(by('rwdl'));
    const reader = by('rl');
    expect(await listed(reader, 'index/')).toEqual(['index/x 10']);
    await expect(reader.delete('index/x')).rejects.toMatchObject({
      code: 'FORBIDDEN',
      detail: { reason: 'AuthorizationPermissionMismatch' },
    });
    await server.close();
  });

  it('that is missing is no object that is missing', async () => {
    const server = await startTestAzure({ ...keys, container: 'others' });
    const detail = { reason: 'ContainerNotFound' };
    const store = azure(server);
    await expect(store.get('config')).rejects.toMatchObject({ code: 'NOT_FOUND', detail });
    await expect(listed(store, 'data/')).rejects.toMatchObject({ code: 'NOT_FOUND', detail });
    await server.close();
  });

  it('refuses bytes that were changed on the way, and gets them again', async () => {
    const server = await startTestAzure(keys);
    let left = 2;
    server.behaviour.fault = () =>
      left-- > 0 ? { what: 'status', status: 400, code: 'Md5Mismatch' } : undefined;
    expect(await azure(server).put('a', Buffer.from('1'))).toBe('created');
    expect(server.requests).toHaveLength(3);
    await server.close();
  });
});
