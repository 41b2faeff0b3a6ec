import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { freePorts, LOOPBACK } from '../testing/peers.ts';
import { initCluster } from './bootstrap.ts';
import { describeCertificate, verifyCertificate } from './certificates.ts';
import { lockDirectory } from './data-directory.ts';
import { readIdentity } from './identity.ts';
import { parseToken } from './tokens.ts';

const root = mkdtempSync(join(tmpdir(), 'holdfast-init-'));
afterAll(() => rmSync(root, { recursive: true }));

let made = 0;
const fresh = (): string => join(root, String(made++));

async function init(dataDirectory: string, more: object = {}) {
  return initCluster({
    dataDirectory,
    name: 'n1',
    address: LOOPBACK,
    port: await freePorts(),
    ...more,
  });
}

/** Every file below a directory with its bytes. */
function everything(path: string): string[] {
  if (!existsSync(path)) return [];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .map((file) => `${file}:${readFileSync(file, 'latin1')}`);
}

describe('init', () => {
  it('makes a data directory with an identity whose secrets only its owner reads', async () => {
    const directory = fresh();
    const result = await init(directory, { zone: 'rack-1', clusterName: 'mine' });
    const identity = await readIdentity(directory);
    expect(identity).toMatchObject({
      clusterId: result.clusterId,
      clusterName: 'mine',
      name: 'n1',
      node: 1,
      role: 'node',
    });
    expect(identity?.settings).toMatchObject({ address: LOOPBACK, zone: 'rack-1', weight: 1 });
    for (const file of ['key.pem', 'ca-key.pem']) {
      expect(statSync(join(directory, 'identity', file)).mode & 0o777).toBe(0o600);
    }
    const { ca, cert } = identity?.tls ?? { ca: '', cert: '' };
    expect(verifyCertificate(ca, cert, Date.now())).toEqual(describeCertificate(cert).identity);
    expect(parseToken(result.tokens.node).id).not.toBe(parseToken(result.tokens.client).id);
  });

  it('is refused in a directory of a cluster, of something else, of a newer version or in use', async () => {
    const [member, foreign, newer, used] = [fresh(), fresh(), fresh(), fresh()];
    await init(member);
    mkdirSync(foreign);
    writeFileSync(join(foreign, 'photo.jpg'), 'x');
    mkdirSync(newer);
    writeFileSync(join(newer, 'VERSION'), '99\n');
    mkdirSync(used);
    const lock = await lockDirectory(used);
    for (const [directory, code, message] of [
      [member, 'CONFLICT', /belongs to cluster [0-9a-f]{32} already/],
      [foreign, 'CONFLICT', /photo\.jpg/],
      [newer, 'NEWER_FORMAT', /format 99.*upgrade/],
      [used, 'DIRECTORY_IN_USE', /another process uses/],
    ] as const) {
      const before = everything(directory).filter((line) => !line.includes('/LOCK/'));
      await expect(init(directory)).rejects.toMatchObject({
        code,
        message: expect.stringMatching(message),
      });
      expect(everything(directory).filter((line) => !line.includes('/LOCK/'))).toEqual(before);
    }
    await lock.release();
  });

  it('names the port that is taken and the flag, and leaves nothing behind', async () => {
    const directory = fresh();
    const port = await freePorts();
    const server = createServer().listen(port + 2, LOOPBACK);
    await once(server, 'listening');
    await expect(init(directory, { port })).rejects.toMatchObject({
      code: 'PORT_IN_USE',
      message: expect.stringMatching(new RegExp(`port ${port + 2} .*--port`)),
    });
    expect(existsSync(directory)).toBe(false);
    server.close();
  });

  it.each([
    [{ name: 'a/b' }, /no name for a peer/],
    [{ zone: '' }, /no name for a peer or zone/],
    [{ port: 65_535 }, /first of five ports/],
    [{ weight: 0 }, /above 0/],
    [{ address: 'no host' }, /is no address/],
    [{ volumeShards: 0 }, /volume shards/],
  ])('is refused with %j', async (more, message) => {
    const directory = fresh();
    await expect(init(directory, more)).rejects.toThrow(message);
    expect(existsSync(directory)).toBe(false);
  });

  it('is refused where the admin socket would have too long a path', async () => {
    const directory = join(root, 'x'.repeat(110));
    await expect(init(directory)).rejects.toThrow(/too long for a socket.*--data/);
    expect(existsSync(directory)).toBe(false);
  });
});

describe('an identity', () => {
  let own: string;
  let other: string;
  beforeEach(async () => {
    [own, other] = [fresh(), fresh()];
    await init(own);
    await init(other);
  });
  const file = (directory: string, name: string): string => join(directory, 'identity', name);

  it.each([
    ['without a key', ['key.pem'], '', /key\.pem is damaged/],
    ['with half a certificate', ['cert.pem'], 'half', /cert\.pem is damaged/],
    ['with the key of another', ['key.pem'], 'other', /key\.pem is not the key of cert\.pem/],
    ['with the authority of another', ['ca.pem'], 'other', /not signed by ca\.pem/],
    [
      'with all three of another',
      ['ca.pem', 'cert.pem', 'key.pem'],
      'other',
      /is for node 1 of cluster [0-9a-f]{32}, which identity\.json/,
    ],
    ['without its first file', ['identity.json'], 'none', /identity\.json is missing/],
  ])('%s is refused with CORRUPT and the file', async (_, names, how, message) => {
    for (const name of names) {
      const path = file(own, name);
      if (how === 'other') copyFileSync(file(other, name), path);
      else if (how === 'none') rmSync(path);
      else writeFileSync(path, how === 'half' ? readFileSync(path).subarray(0, 300) : '');
    }
    const refused = { code: 'CORRUPT', message: expect.stringMatching(message) };
    await expect(readIdentity(own)).rejects.toMatchObject(refused);
    await expect(init(own)).rejects.toMatchObject(refused);
  });

  it("is not made anew over a peer's data", async () => {
    rmSync(join(own, 'identity'), { recursive: true });
    mkdirSync(join(own, 'raft'));
    await expect(init(own)).rejects.toThrow(/peer's data \(raft\), but .*identity is missing/);
    expect(existsSync(join(own, 'identity'))).toBe(false);
  });
});
