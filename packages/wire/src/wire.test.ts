import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer, connect as netConnect } from 'node:net';
import { connect } from 'node:tls';
import { HoldfastError, type NodeNumber } from '@holdfast/protocol';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { WireClient } from './client.ts';
import { encodeHead, FRAME } from './frame.ts';
import { WireServer } from './server.ts';
import { TestAuthority } from './testing/test-authority.ts';

const CLUSTER = 'c0ffee';

describe('calls over mutual TLS', () => {
  let authority: TestAuthority;
  let server: WireServer;
  let address: string;
  const revoked = new Set<string>();
  const clients: WireClient[] = [];
  const problems: string[] = [];

  beforeEach(async () => {
    authority = new TestAuthority(CLUSTER);
    server = new WireServer({
      tls: authority.issue('node', '1'),
      host: '127.0.0.1',
      port: 0,
      clusterId: CLUSTER,
      isRevoked: (serial) => revoked.has(serial),
      onProblem: (event) => problems.push(event),
    });
    server.handle('echo', ['node', 'client'], async ({ header, body }) => ({ header, body }));
    server.handle('peer', ['client'], async ({ peer }) => ({ header: peer }));
    server.handle('refuse', ['client'], async () => {
      throw new HoldfastError('NOT_LEADER', 'not me', { detail: { leader: 3 } });
    });
    server.handle('nodes-only', ['node'], async () => ({ header: {} }));
    address = `127.0.0.1:${(await server.listen()).port}`;
  });
  afterEach(async () => {
    await Promise.all(clients.splice(0).map((client) => client.close()));
    await server.close();
    authority.close();
    revoked.clear();
  });

  function client(options: Partial<ConstructorParameters<typeof WireClient>[0]> = {}): WireClient {
    const made = new WireClient({
      tls: authority.issue('client', 'h1'),
      clusterId: CLUSTER,
      address,
      connectTimeoutMs: 5_000,
      ...options,
    });
    clients.push(made);
    return made;
  }

  it('carries headers and bodies of every size', async () => {
    const caller = client();
    for (const bytes of [0, 1, 65_535, 65_536, 65_537, 4 * 2 ** 20]) {
      const body = randomBytes(bytes);
      const answer = await caller.call(
        'echo',
        { bytes, at: 5n },
        { body: [body.subarray(0, 7), body.subarray(7)] },
      );
      expect(answer.header).toEqual({ bytes, at: 5n });
      expect(body.equals(answer.body)).toBe(true);
    }
  });

  it('keeps many bodies and small calls apart on one connection', async () => {
    const caller = client();
    const calls = Array.from({ length: 40 }, async (_, i) => {
      const body = randomBytes(i % 4 === 0 ? 2 ** 21 : 10 * i);
      const answer = await caller.call<{ i: number }>('echo', { i }, { body });
      return answer.header.i === i && body.equals(answer.body);
    });
    expect(await Promise.all(calls)).toEqual(calls.map(() => true));
  });

  it('answers a small call while large bodies are under way', async () => {
    const caller = client();
    const order: string[] = [];
    const large = Array.from({ length: 8 }, () =>
      caller.call('echo', {}, { body: Buffer.alloc(4 * 2 ** 20) }).then(() => order.push('large')),
    );
    await caller.call('echo', {}).then(() => order.push('small'));
    await Promise.all(large);
    expect(order[0]).toBe('small');
  });

  it('tells the handler who calls and the caller what was refused', async () => {
    const caller = client();
    expect((await caller.call('peer', {})).header).toMatchObject({
      clusterId: CLUSTER,
      role: 'client',
      name: 'h1',
    });
    await expect(caller.call('refuse', {})).rejects.toMatchObject({
      code: 'NOT_LEADER',
      detail: { leader: 3 },
    });
    await expect(caller.call('nodes-only', {})).rejects.toMatchObject({ code: 'FORBIDDEN' });
    await expect(caller.call('nothing', {})).rejects.toMatchObject({ code: 'ENOSYS' });
  });

  it('gives nothing to a peer without a certificate, of another cluster, another authority, or revoked', async () => {
    const other = new TestAuthority(CLUSTER);
    const strangers = [
      authority.issue('client', 'x', 'beef'),
      { ...other.issue('client', 'x'), ca: authority.issue('client', 'y').ca },
    ];
    for (const tls of strangers) {
      await expect(client({ tls }).call('echo', {})).rejects.toMatchObject({ code: 'UNREACHABLE' });
    }
    const caller = client();
    const { header } = await caller.call<{ serial: string }>('peer', {});
    revoked.add(header.serial);
    server.dropRevoked();
    await expect(caller.call('echo', {})).rejects.toMatchObject({ code: 'UNREACHABLE' });
    other.close();
  });

  it('refuses another node than the expected one', async () => {
    const caller = client({ expectNode: 2 as NodeNumber });
    await expect(caller.call('echo', {})).rejects.toMatchObject({ code: 'UNREACHABLE' });
  });

  it('passes cancellation on and times out', async () => {
    let aborted: (() => void) | undefined;
    const seen = new Promise<void>((resolve) => {
      aborted = resolve;
    });
    server.handle('hang', ['client'], ({ signal }) => {
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          aborted?.();
          reject(new HoldfastError('EINTR'));
        });
      });
    });
    const caller = client();
    const controller = new AbortController();
    const call = caller.call('hang', {}, { signal: controller.signal });
    await caller.call('echo', {});
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: 'EINTR' });
    await seen;
    await expect(caller.call('hang', {}, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE',
    });
  });

  it('fails calls under way when the server ends, and connects again when it is back', async () => {
    const caller = client();
    server.handle('stop', ['client'], async ({ connection }) => {
      void connection.close();
      return new Promise(() => {});
    });
    await expect(caller.call('stop', {})).rejects.toMatchObject({ code: 'UNREACHABLE' });
    expect((await caller.call('echo', { again: true })).header).toEqual({ again: true });
  });

  it('closes although others shake hands with it meanwhile, or never finish to', async () => {
    const port = Number(address.split(':')[1]);
    const [late, silent] = [netConnect(port, '127.0.0.1'), netConnect(port, '127.0.0.1')];
    const ended = [late, silent].map((socket) => once(socket, 'close'));
    for (const socket of [late, silent]) socket.on('error', () => {});
    await Promise.all([late, silent].map((socket) => once(socket, 'connect')));
    const [begun, release] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    server.handle('wait', ['client'], async () => {
      begun.resolve();
      await release.promise;
      return { header: {} };
    });
    const waiting = client().call('wait', {});
    await begun.promise; // accepted after the two, so they are accepted
    const closing = server.close();
    const options = { ...authority.issue('client', 'late'), checkServerIdentity: () => undefined };
    const secured = connect({ socket: late, ...options });
    secured.on('error', () => {});
    const refused = once(secured, 'close');
    await once(secured, 'secureConnect');
    release.resolve();
    await expect(waiting).resolves.toMatchObject({ header: {} });
    await closing;
    await Promise.all([refused, ...ended]);
  });

  it('answers what it is at before it closes, and refuses what comes then', async () => {
    const body = randomBytes(4 * 2 ** 20);
    const entered = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    server.handle('slow', ['client'], async () => {
      entered.resolve();
      await release.promise;
      return { header: {}, body };
    });
    const caller = client();
    const calls = [1, 2, 3, 4].map(() => caller.call('slow', {}));
    await entered.promise;
    const closing = server.close();
    await expect(caller.call('echo', {})).rejects.toMatchObject({ code: 'SHUTTING_DOWN' });
    release.resolve();
    for (const answer of await Promise.all(calls)) expect(body.equals(answer.body)).toBe(true);
    await closing;
  });

  it('holds a bounded number of bytes: it stops reading, and refuses what comes all at once', async () => {
    const body = Buffer.alloc(4 * 2 ** 20);
    let held = 0;
    const release = Promise.withResolvers<void>();
    const more = { next: Promise.withResolvers<void>() };
    server.handle('hold', ['client'], async () => {
      held++;
      more.next.resolve();
      more.next = Promise.withResolvers<void>();
      await release.promise;
      return { header: {} };
    });
    const caller = client();
    const calls: Promise<unknown>[] = [];
    // One after the other: after 64 MiB reading stops, and not even a small call gets through.
    for (let i = 0; i < 16; i++) {
      const { promise } = more.next;
      calls.push(caller.call('hold', {}, { body }));
      await promise;
    }
    calls.push(caller.call('hold', {}, { body }));
    let isAnswered = false;
    const small = caller.call('echo', {}).finally(() => {
      isAnswered = true;
    });
    await client().call('echo', {}); // another connection has nothing to do with it
    expect(held).toBeLessThanOrEqual(17);
    expect(isAnswered).toBe(false);
    release.resolve();
    await Promise.all([...calls, small]);
    const results = await Promise.allSettled(
      Array.from({ length: 60 }, () => caller.call('hold', {}, { body })),
    );
    const refused = results.filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(0);
    expect(refused).toEqual(
      refused.map(() =>
        expect.objectContaining({ reason: expect.objectContaining({ code: 'OVERLOADED' }) }),
      ),
    );
    await caller.call('echo', {});
  });

  it('tells when the body of an answer is no longer needed, sent or not', async () => {
    const body = randomBytes(4 * 2 ** 20);
    let sent = 0;
    const last = Promise.withResolvers<void>();
    server.handle('large', ['client'], async () => ({
      header: {},
      body,
      onSent: () => {
        sent++;
        if (sent === 9) last.resolve();
      },
    }));
    const caller = client();
    await caller.call('echo', {});
    const controllers = Array.from({ length: 9 }, () => new AbortController());
    const calls = controllers.map(({ signal }) => caller.call('large', {}, { signal }));
    const settled = Promise.allSettled(calls);
    await calls[0];
    for (const controller of controllers.slice(1)) controller.abort();
    await settled;
    await last.promise;
    expect(body.equals((await caller.call('large', {})).body)).toBe(true);
  });

  it('gives up connecting when the call may not last longer', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const { port } = silent.address() as AddressInfo;
    const caller = client({ address: `127.0.0.1:${port}`, connectTimeoutMs: 60_000 });
    await expect(caller.call('echo', {}, { deadlineMs: 20 })).rejects.toMatchObject({
      code: 'DEADLINE',
    });
    const controller = new AbortController();
    const call = caller.call('echo', {}, { signal: controller.signal });
    controller.abort();
    await expect(call).rejects.toMatchObject({ code: 'EINTR' });
    silent.close();
  });

  it('delivers notices to the caller', async () => {
    const heard = Promise.withResolvers<unknown>();
    server.handle('subscribe', ['client'], async ({ connection }) => {
      connection.notify('map.epoch', { epoch: 7 });
      return { header: {} };
    });
    const onNotice = (method: string, header: unknown): void => heard.resolve({ method, header });
    await client({ onNotice }).call('subscribe', {});
    expect(await heard.promise).toEqual({ method: 'map.epoch', header: { epoch: 7 } });
  });

  it('drops a connection that breaks the protocol and goes on serving others', async () => {
    const { ca, cert, key } = authority.issue('client', 'vandal');
    const port = Number(address.split(':')[1]);
    const whole = Buffer.concat([
      encodeHead(FRAME.request, 1, Buffer.from('xx')),
      Buffer.from('xx'),
    ]);
    for (let bit = 0; bit < 26 * 8; bit += 5) {
      const broken = Buffer.from(whole);
      broken.writeUInt8(broken.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
      await new Promise<void>((resolve) => {
        const socket = connect({
          port,
          host: '127.0.0.1',
          ca,
          cert,
          key,
          checkServerIdentity: () => undefined,
        });
        socket.once('secureConnect', () => socket.write(broken));
        socket.once('close', () => resolve());
        socket.on('error', () => {});
        socket.resume();
      });
    }
    expect((await client().call('echo', { still: 'here' })).header).toEqual({ still: 'here' });
    expect(problems).toContain('wire.broken');
  });
});
