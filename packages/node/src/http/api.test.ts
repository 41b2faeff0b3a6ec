import { readFileSync } from 'node:fs';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { WireClient } from '@holdfast/wire';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { LOOPBACK, TestCluster } from '../testing/peers.ts';

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: JSON of many shapes, looked at by matchers only
  readonly body: any;
}

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.begin();
  await cluster.join('web', { role: 'client', token: cluster.made.tokens.client });
}, 60_000);
afterAll(() => cluster?.close(), 60_000);

function call(
  method: string,
  path: string,
  body?: unknown,
  options?: RequestOptions,
  send = httpRequest,
): Promise<Answer> {
  const where = options ?? { socketPath: join(cluster.data('n1'), 'admin.sock') };
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const request = send({ ...where, method, path, headers }, (response) => {
      let text = '';
      response.on('data', (part: Buffer) => {
        text += part.toString();
      });
      response.on('end', () => {
        const isJson = response.headers['content-type']?.includes('json') === true;
        resolve({ status: response.statusCode ?? 0, body: isJson ? JSON.parse(text) : text });
      });
    });
    request.on('error', reject);
    request.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

/** A call over TLS with the certificate of a host, or with none. */
function callTls(who: string | undefined, method: string, path: string): Promise<Answer> {
  const { port } = new URL(`tls://${cluster.node('n1').core.map.current?.nodes[0]?.adminAddress}`);
  const file = (host: string, name: string): string =>
    readFileSync(join(cluster.data(host), 'identity', name), 'utf8');
  const own = who === undefined ? {} : { cert: file(who, 'cert.pem'), key: file(who, 'key.pem') };
  const tls = { host: LOOPBACK, port, ca: file('n1', 'ca.pem'), agent: false, ...own };
  return call(method, path, undefined, tls, httpsRequest as typeof httpRequest);
}

describe('the admin API', () => {
  it('shows the cluster, its peers and its map', async () => {
    const status = await call('GET', '/v1/status');
    expect(status).toMatchObject({
      status: 200,
      body: { clusterId: cluster.made.clusterId, health: 'warning', answeredBy: 1 },
    });
    expect(status.body.shards.map((shard: { leader: number }) => shard.leader)).toEqual([1, 1, 1]);
    expect(status.body.reasons[0]).toMatchObject({
      code: 'peers.few',
      fix: expect.stringContaining('holdfast join'),
    });
    expect(status.body.nodes[0]).toMatchObject({
      epoch: status.body.epoch,
      repair: { behindPartitions: 0, missingChunks: 0 },
      space: { totalBytes: expect.any(Number), freeBytes: expect.any(Number), usedBytes: 0 },
    });
    expect((await call('GET', '/v1/nodes/1')).body.node).toMatchObject({
      number: 1,
      name: 'n1',
      state: 'up',
    });
    expect((await call('GET', '/v1/map')).body.partitions).toHaveLength(16_384);
  });

  it('tells when each peer gave its last sign of life', async () => {
    await vi.waitFor(
      async () => {
        const [node] = (await call('GET', '/v1/status')).body.nodes;
        expect(node.silentMs).toBeLessThan(30_000);
      },
      { timeout: 30_000 },
    );
  });

  it('makes, shows, changes and removes volumes', async () => {
    const policy = { replicas: 2, quotaBytes: 1_000_000 };
    const made = await call('POST', '/v1/volumes', { name: 'v', policy });
    expect(made).toMatchObject({
      status: 200,
      body: { volume: { name: 'v', state: 'ready', policy } },
    });
    expect(await call('POST', '/v1/volumes', { name: 'v', policy })).toEqual(made);
    expect(await call('POST', '/v1/volumes', { name: 'v', policy: { replicas: 1 } })).toMatchObject(
      {
        status: 409,
        body: { code: 'CONFLICT', message: "volume 'v' exists with other options" },
      },
    );
    const changed = await call('PATCH', '/v1/volumes/v', { policy: { quotaBytes: 5 } });
    expect(changed.body.volume.policy).toMatchObject({ replicas: 2, quotaBytes: 5 });
    expect((await call('GET', '/v1/volumes')).body.volumes).toHaveLength(1);
    expect(await call('DELETE', '/v1/volumes/v')).toMatchObject({ status: 200 });
    expect(await call('GET', '/v1/volumes/v')).toMatchObject({
      status: 404,
      body: { code: 'NOT_FOUND' },
    });
    expect(await call('DELETE', '/v1/volumes/v')).toMatchObject({ status: 404 });
    expect((await call('POST', '/v1/volumes', { name: 'v' })).body.volume.number).toBe(2);
  });

  it('takes, shows, measures and removes snapshots', async () => {
    await call('POST', '/v1/volumes', { name: 's' });
    const path = '/v1/volumes/s/snapshots';
    const made = await call('POST', path, { name: 'monday' });
    expect(made).toMatchObject({
      status: 200,
      body: { snapshot: { name: 'monday', generation: 1, clones: 0, usedInodes: 1 } },
    });
    expect(Date.parse(made.body.snapshot.createdAt)).toBeGreaterThan(Date.now() - 60_000);
    expect(await call('POST', path, { name: 'monday' })).toMatchObject({
      status: 409,
      body: {
        code: 'EEXIST',
        message: expect.stringMatching(/'s' has a snapshot 'monday' already/),
      },
    });
    const unnamed = await call('POST', path, {});
    expect(unnamed.body.snapshot.name).toMatch(/^\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z$/);
    const { body } = await call('GET', path);
    expect(body.snapshots.map((one: { generation: number }) => one.generation)).toEqual([1, 2]);
    expect((await call('GET', `${path}/monday`)).body).toEqual({
      snapshot: { ...made.body.snapshot, chunkBytes: 0, inlineBytes: 0, isSettled: true },
    });
    expect(await call('POST', `${path}/monday/rollback`, {})).toMatchObject({
      status: 200,
      body: { snapshot: { name: expect.stringMatching(/^before-rollback-\d{4}-/), generation: 3 } },
    });
    expect(await call('POST', `${path}/none/rollback`, {})).toMatchObject({ status: 404 });
    expect(await call('DELETE', '/v1/volumes/s')).toMatchObject({
      status: 409,
      body: { code: 'ENOTEMPTY', message: expect.stringMatching(/has snapshots/) },
    });
    expect(await call('DELETE', `${path}/monday`)).toEqual(made);
    expect(await call('DELETE', `${path}/monday`)).toMatchObject({
      status: 404,
      body: { code: 'NOT_FOUND', message: expect.stringMatching(/no snapshot 'monday'/) },
    });
    expect(await call('POST', path, { name: '.x' })).toMatchObject({ body: { code: 'EINVAL' } });
    expect(await call('POST', '/v1/volumes/none/snapshots', {})).toMatchObject({ status: 404 });
    expect(await call('DELETE', '/v1/volumes/s?force=true')).toMatchObject({ status: 200 });
  });

  it('makes clones of snapshots, which keep what they come from', async () => {
    const clone = { name: 'c', from: 'b@s' };
    const make = (body: unknown): Promise<Answer> => call('POST', '/v1/volumes', body);
    expect(await make(clone)).toMatchObject({
      status: 404,
      body: { message: expect.stringMatching(/no volume 'b'/) },
    });
    const base = await make({ name: 'b', policy: { replicas: 1, quotaBytes: 1_000_000 } });
    expect(await make(clone)).toMatchObject({
      status: 404,
      body: { message: expect.stringMatching(/no snapshot 's'/) },
    });
    await call('POST', '/v1/volumes/b/snapshots', { name: 's' });
    const made = await make(clone);
    expect(made).toMatchObject({
      status: 200,
      body: {
        volume: {
          state: 'ready',
          policy: base.body.volume.policy,
          from: { volumeName: 'b', snapshot: 's', generation: 1 },
        },
      },
    });
    expect(await call('DELETE', '/v1/volumes/b?force=true')).toMatchObject({
      status: 409,
      body: { code: 'EBUSY', message: expect.stringMatching(/has clones.*\(c\)/) },
    });
    const removed = await call('DELETE', '/v1/volumes/b/snapshots/s');
    expect(removed.body.snapshot).toMatchObject({ name: 's', clones: 1 });
    expect(await make(clone)).toEqual(made);
    expect(await make({ ...clone, name: 'd' })).toMatchObject({ status: 404 });
    expect(await make({ ...clone, from: 'b' })).toMatchObject({ body: { code: 'BAD_REQUEST' } });
    expect((await call('GET', '/v1/volumes')).body.volumes).toHaveLength(3);
    for (const name of ['c', 'b'])
      expect(await call('DELETE', `/v1/volumes/${name}?force=true`)).toMatchObject({ status: 200 });
  });

  it('refuses to remove a volume that a host uses', async () => {
    const { registry } = cluster.node('n1').core;
    await call('POST', '/v1/volumes', { name: 'used' });
    await registry.execute({ op: 'attach', name: 'used', host: 'h9' });
    expect(await call('DELETE', '/v1/volumes/used?force=true')).toMatchObject({
      status: 409,
      body: {
        code: 'CONFLICT',
        message: expect.stringContaining('h9'),
        detail: { attachedTo: ['h9'] },
      },
    });
    expect(await call('DELETE', '/v1/volumes/used/attachments/h8')).toMatchObject({
      status: 404,
      body: { message: expect.stringContaining('h9') },
    });
    expect(await call('DELETE', '/v1/volumes/used/attachments/h9')).toMatchObject({
      status: 409,
      body: { code: 'CONFLICT', message: expect.stringMatching(/no peer.*force/) },
    });
    expect(await call('DELETE', '/v1/volumes/used/attachments/h9?force=true')).toMatchObject({
      status: 200,
      body: { volume: { attachedTo: [] } },
    });
    expect(await call('DELETE', '/v1/volumes/used?force=true')).toMatchObject({ status: 200 });
    expect(await call('DELETE', '/v1/volumes/used/attachments/h9')).toMatchObject({ status: 404 });
  });

  it('takes a volume from a host that is up only by force', async () => {
    const { registry } = cluster.node('n1').core;
    await call('POST', '/v1/volumes', { name: 'held' });
    await registry.execute({ op: 'attach', name: 'held', host: 'n1' });
    expect(await call('DELETE', '/v1/volumes/held/attachments/n1')).toMatchObject({
      status: 409,
      body: { code: 'CONFLICT', message: expect.stringMatching(/is up/) },
    });
    expect(await call('DELETE', '/v1/volumes/held/attachments/n1?force=true')).toMatchObject({
      status: 200,
    });
    expect(await call('DELETE', '/v1/volumes/held')).toMatchObject({ status: 200 });
  });

  it.each([
    ['POST', '/v1/volumes', { name: 'a/b' }, 400, 'EINVAL', /no volume name/],
    ['POST', '/v1/volumes', { name: 'x'.repeat(300) }, 400, 'ENAMETOOLONG', /at most 255/],
    ['POST', '/v1/volumes', { nam: 'a' }, 400, 'BAD_REQUEST', /body.name/],
    ['POST', '/v1/volumes', { name: 'a', policy: { replica: 1 } }, 400, 'BAD_REQUEST', /replica/],
    [
      'POST',
      '/v1/volumes',
      { name: 'a', policy: { replicas: 2, minReplicas: 3 } },
      400,
      'BAD_REQUEST',
      /min-replicas/,
    ],
    ['POST', '/v1/tokens', { role: 'king' }, 400, 'BAD_REQUEST', /role/],
    ['POST', '/v1/tokens', { expires: 'soon' }, 400, 'BAD_REQUEST', /30m, 12h/],
    ['DELETE', '/v1/tokens/nope', undefined, 404, 'NOT_FOUND', /no token/],
    ['GET', '/v1/nodes/x', undefined, 400, 'BAD_REQUEST', /number/],
    ['GET', '/v1/nodes/77', undefined, 404, 'NOT_FOUND', /no peer 77/],
    ['DELETE', '/v1/nodes/1?force=true', undefined, 409, 'CONFLICT', /last peer/],
    ['DELETE', '/v1/certificates/00', undefined, 404, 'NOT_FOUND', /32 hexadecimal/],
    ['DELETE', '/v1/certificates/xyz', undefined, 400, 'BAD_REQUEST', /hexadecimal/],
    ['GET', '/v2/what', undefined, 404, 'NOT_FOUND', /openapi.json/],
  ] as const)(
    'answers %s %s %j with status %i and code %s',
    async (method, path, body, status, code, message) => {
      expect(await call(method, path, body)).toMatchObject({
        status,
        body: { code, message: expect.stringMatching(message) },
      });
    },
  );

  it('refuses a body that is too large', async () => {
    const large = await call('POST', '/v1/volumes', { name: 'x'.repeat(100_000) });
    expect(large).toMatchObject({ status: 413, body: { code: 'TOO_LARGE' } });
  });

  it('shows a token once and then only that it is there', async () => {
    const made = await call('POST', '/v1/tokens', { role: 'client', expires: '1h' });
    expect(made.body).toMatchObject({ token: expect.stringMatching(/^HFTKN-1-/), role: 'client' });
    expect(Date.parse(made.body.expiresAt)).toBeGreaterThan(Date.now());
    const listed = (await call('GET', '/v1/tokens')).body.tokens.find(
      (token: { id: string }) => token.id === made.body.id,
    );
    expect(Object.keys(listed).sort()).toEqual(['createdAt', 'expiresAt', 'id', 'revoked', 'role']);
    await call('DELETE', `/v1/tokens/${made.body.id}`);
    await expect(
      cluster.join('late', { role: 'client', token: made.body.token }),
    ).rejects.toMatchObject({ code: 'BAD_TOKEN' });
  });

  it('lets a client look, a peer act, and nobody in without a certificate', async () => {
    expect((await callTls('web', 'GET', '/v1/status')).status).toBe(200);
    for (const [method, path] of [
      ['GET', '/v1/tokens'],
      ['POST', '/v1/tokens'],
      ['DELETE', '/v1/nodes/1'],
      ['DELETE', '/v1/repositories/r'],
    ] as const) {
      expect(await callTls('web', method, path)).toMatchObject({
        status: 403,
        body: { code: 'FORBIDDEN' },
      });
    }
    expect((await callTls('n1', 'GET', '/v1/tokens')).status).toBe(200);
    await expect(callTls(undefined, 'GET', '/v1/status')).rejects.toThrow(/certificate required/);
  });

  it('tells what opens a repository to peers, not to clients, and not over HTTP', async () => {
    const known = { name: 'r', place: '/srv/r', id: 'ab'.repeat(32), hosts: [] };
    const secrets = { password: 'hidden-1', credentials: { AWS_SECRET_ACCESS_KEY: 'hidden-2' } };
    const answers = [
      await call('POST', '/v1/repositories', { ...known, ...secrets }),
      await call('POST', '/v1/repositories', { ...known, ...secrets }),
      await call('POST', '/v1/repositories', { ...known, ...secrets, hosts: 'hidden-3' }),
      await call('GET', '/v1/repositories'),
      await call('GET', '/v1/repositories/r'),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 409, 400, 200, 200]);
    expect(JSON.stringify(answers)).not.toContain('hidden');
    const asked = async (who: string): Promise<unknown> => {
      const file = (name: string): string =>
        readFileSync(join(cluster.data(who), 'identity', name), 'utf8');
      const client = new WireClient({
        tls: { ca: file('ca.pem'), cert: file('cert.pem'), key: file('key.pem') },
        clusterId: cluster.made.clusterId,
        address: cluster.node('n1').core.map.current?.nodes[0]?.wireAddress ?? '',
        connectTimeoutMs: 5_000,
      });
      try {
        return (await client.call('registry.repository-access', { name: 'r' })).header;
      } finally {
        await client.close();
      }
    };
    await expect(asked('web')).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await asked('n1')).toMatchObject({ access: { repository: known, secrets } });
    expect(await call('DELETE', '/v1/repositories/r')).toMatchObject({ status: 200 });
    expect(await asked('n1')).toEqual({});
    expect(await call('GET', '/v1/repositories/r')).toMatchObject({ status: 404 });
  });

  it('describes itself', async () => {
    const { body } = await call('GET', '/v1/openapi.json');
    expect(body.openapi).toBe('3.1.0');
    expect(Object.keys(body.paths)).toEqual(
      expect.arrayContaining([
        '/v1/status',
        '/v1/volumes',
        '/v1/volumes/{name}',
        '/v1/tokens',
        '/v1/nodes/{number}',
      ]),
    );
    expect(
      body.paths['/v1/volumes'].post.requestBody.content['application/json'].schema.required,
    ).toEqual(['name']);
  });

  it('answers probes in plain HTTP', async () => {
    const probe = (path: string): Promise<Answer> =>
      call('GET', path, undefined, { host: LOOPBACK, port: cluster.node('n1').core.ports.probe });
    expect(await probe('/healthz')).toEqual({ status: 200, body: { alive: true } });
    expect(await probe('/readyz')).toEqual({ status: 200, body: { ready: true, reasons: [] } });
    const { body } = await probe('/metrics');
    for (const name of [
      'holdfast_membership_epoch 1',
      'holdfast_shard_leader{shard="0"} 1',
      'holdfast_membership_peers{state="up"} 1',
      'holdfast_chunks_',
    ]) {
      expect(body).toContain(name);
    }
    expect((await probe('/v1/status')).status).toBe(404);
  });
});
