import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { checkCertificate } from './certificate-check.ts';
import { checkDriver } from './driver-check.ts';
import { checkMount, probeBy } from './mount-check.ts';

const DAY_MS = 86_400_000;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'holdfast-doctor-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('the doctor on the mount', () => {
  const well = async (): Promise<'well'> => 'well';
  const look = (probe: Parameters<typeof checkMount>[1], isMounted = true) =>
    checkMount({ path: '/mnt/x', stateDirectory: folder }, probe, isMounted);
  const write = (name: string, text: string | number): void =>
    writeFileSync(join(folder, name), `${text}\n`);

  it('is content with one that answers', async () => {
    write('keeper.pid', process.pid);
    expect(await look(well)).toMatchObject([{ ok: true }, { ok: true, check: 'mount daemon' }]);
  });

  it('does not ask for a keeper that runs in a container', async () => {
    expect(await look(well)).toMatchObject([{ ok: true, check: 'mount' }]);
  });

  it.each([
    ['missing', well, false, /not mounted; start 'holdfast run'/],
    ['dead', async () => ({ error: 'Transport endpoint is not connected' }), true, /dead.*again/],
    ['silent', async () => 'silence' as const, true, /does not answer.*process 17, by SIGKILL/],
    ['failing', async () => ({ error: 'stat: EIO' }), true, /fails: stat: EIO/],
  ])('sees one that is %s', async (_, probe, isMounted, message) => {
    write('daemon.pid', 17);
    const found = await look(probe, isMounted);
    expect(found).toMatchObject([{ check: 'mount', ok: false }]);
    expect(found[0]?.message).toMatch(message);
  });

  it('tells of a daemon that was started again just now, and forgives after a while', async () => {
    write('keeper.pid', process.pid);
    write('daemon.pid', 1);
    write('restarts', 3);
    expect((await look(well))[1]).toMatchObject({
      ok: false,
      message: expect.stringMatching(/3 times.*log says why/),
    });
    const before = new Date(Date.now() - 3_600_000);
    utimesSync(join(folder, 'daemon.pid'), before, before);
    expect((await look(well))[1]).toMatchObject({ ok: true });
  });

  it('tells an answer from an error and from silence', async () => {
    expect(await probeBy('stat', ['-f', folder], 10_000)).toBe('well');
    expect(await probeBy('stat', ['-f', join(folder, 'none')], 10_000)).toMatchObject({
      error: expect.stringMatching(/no such file/i),
    });
    expect(await probeBy('sleep', ['60'], 50)).toBe('silence');
  });
});

describe('the doctor on the volume driver', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());
  const sockets = (): { driver: string; engine: string } => ({
    driver: join(folder, 'driver.sock'),
    engine: join(folder, 'docker.sock'),
  });

  /** Answers every request with this, or never. */
  async function listen(body: string | undefined): Promise<void> {
    server = createServer((socket) => {
      socket.on('error', () => {});
      if (body === undefined) return;
      const head = `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`;
      socket.once('data', () => socket.end(`${head}${body}`));
    });
    await new Promise<void>((resolve) => server?.listen(sockets().driver, resolve));
  }

  it('wants one where there is an engine, and only there', async () => {
    expect(await checkDriver(sockets())).toMatchObject({ ok: true });
    writeFileSync(sockets().engine, '');
    expect(await checkDriver(sockets())).toMatchObject({
      ok: false,
      message: expect.stringMatching(/start 'holdfast run'/),
    });
  });

  it.each([
    ['{"Volumes":[]}', true, /answers at/],
    ['{"Err":"holdfast: no \\"quorum\\""}', false, /it says: holdfast: no/],
    ['hello', false, /no volume driver/],
  ])('judges the answer %s', async (body, ok, message) => {
    await listen(body);
    const found = await checkDriver(sockets());
    expect(found.ok).toBe(ok);
    expect(found.message).toMatch(message);
  });

  it('sees one that hangs, and the socket of one that was killed', async () => {
    await listen(undefined);
    expect(await checkDriver(sockets(), 50)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/no answer/),
    });
    writeFileSync(`${sockets().driver}.x`, '');
    const killed = { ...sockets(), driver: `${sockets().driver}.x` };
    expect(await checkDriver(killed)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/nobody listens.*remove that file/),
    });
  });
});

describe('the doctor on the certificate', () => {
  it('counts the days, warns of the end, and sees the end and a wrong clock', async () => {
    const directory = join(folder, 'identity');
    mkdirSync(directory);
    const [cert, key, ca] = ['cert', 'key', 'ca'].map((name) => join(directory, `${name}.pem`));
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
    const files = ['-keyout', `${key}`, '-out', `${cert}`, '-days', '365', '-subj', '/CN=h1'];
    execFileSync('openssl', ['req', '-x509', ...curve, ...files], { stdio: 'ignore' });
    copyFileSync(`${cert}`, `${ca}`);
    expect(await checkCertificate(folder, Date.now())).toEqual([]);
    const identity = { clusterId: 'c0ffee', name: 'h1', role: 'client' };
    writeFileSync(join(directory, 'identity.json'), JSON.stringify(identity));
    const after = async (days: number): Promise<{ ok?: boolean; message?: string }> =>
      (await checkCertificate(folder, Date.now() + days * DAY_MS))[0] ?? {};
    expect(await after(0.5)).toMatchObject({
      ok: true,
      message: expect.stringMatching(/^364 days/),
    });
    expect((await after(270)).ok).toBe(true);
    expect(await after(280)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/certificate renew/),
    });
    expect(await after(366)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/join again/),
    });
    expect(await after(-2)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/set the clock/),
    });
    writeFileSync(`${cert}`, 'x');
    expect(await after(0)).toMatchObject({
      ok: false,
      message: expect.stringMatching(/cert\.pem is damaged/),
    });
  });
});
