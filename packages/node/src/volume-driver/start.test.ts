import { once } from 'node:events';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type RunningVolumeDriver, startVolumeDriver } from './start.ts';
import { FakeEngine } from './testing/fake-engine.ts';
import { type FuseFolders, fuseObstacle, mountFolders } from './testing/fuse-folders.ts';
import { MemoryBackend } from './testing/memory-backend.ts';
import {
  callPlugin,
  type PluginAnswer,
  readPlugin,
  sendToPlugin,
} from './testing/plugin-client.ts';
import { QuietLog } from './testing/quiet-log.ts';

const obstacle = fuseObstacle();

describe('the volume driver on its socket', () => {
  let folder: string;
  let mount: FuseFolders | undefined;
  let mountRoot: string;
  let backend: MemoryBackend;
  let log: QuietLog;
  const running: RunningVolumeDriver[] = [];

  const start = async (host: string, engineSocket = ''): Promise<RunningVolumeDriver> => {
    const driver = await startVolumeDriver({
      backend,
      host,
      log,
      stateDirectory: join(folder, host),
      socketPath: join(folder, host, 'holdfast.sock'),
      mountRoot,
      engineSocket,
    });
    running.push(driver);
    return driver;
  };
  const ask = async (
    host: string,
    call: string,
    document?: unknown,
  ): Promise<PluginAnswer['body']> => {
    const socket = join(folder, host, 'holdfast.sock');
    const path = call === 'Activate' ? '/Plugin.Activate' : `/VolumeDriver.${call}`;
    return (await callPlugin(socket, path, document)).body;
  };
  const mountpoint = (volume: string): string => join(mountRoot, volume);

  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'holdfast-driver-'));
    backend = new MemoryBackend();
    log = new QuietLog();
    mount = obstacle === undefined ? await mountFolders('v1', 'v2') : undefined;
    mountRoot = mount?.path ?? join(folder, 'nothing');
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((driver) => driver.close()));
    await mount?.close();
    rmSync(folder, { recursive: true });
  });

  it('introduces itself, with and without a body, as the engine asks', async () => {
    await start('h1');
    expect(await ask('h1', 'Activate')).toEqual({ Implements: ['VolumeDriver'] });
    expect(await ask('h1', 'Capabilities', {})).toEqual({ Capabilities: { Scope: 'global' } });
    expect(await ask('h1', 'Capabilities')).toEqual({ Capabilities: { Scope: 'global' } });
    expect(await ask('h1', 'List')).toEqual({ Volumes: [] });
  });

  it('answers 200 with a plugin media type, and Err in place of a status', async () => {
    const { socketPath } = await start('h1');
    const answer = await callPlugin(socketPath, '/VolumeDriver.Get', { Name: 'none' });
    expect(answer.status).toBe(200);
    expect(answer.contentType).toMatch('application/vnd.docker.plugins');
    expect(answer.body).toEqual({ Err: "holdfast: no volume 'none'" });
    const unknown = await callPlugin(socketPath, '/NetworkDriver.Join', {});
    expect(unknown).toMatchObject({
      status: 404,
      body: { Err: expect.stringContaining('no call') },
    });
  });

  it.each([
    ['an empty body, as in a retry', '', 'without its body'],
    ['half a body', '{"Name": "v', 'not JSON'],
    ['a body without a name', '{"Opts": {}}', 'Name'],
    ['a name that is no text', '{"Name": 7}', 'Name'],
    ['an option that is no text', '{"Name": "v1", "Opts": {"size": 1}}', 'size'],
    ['null', 'null', ''],
    ['too much', `{"Name": "${'x'.repeat(300_000)}"}`, 'too large'],
  ])('refuses %s and does nothing', async (_, body, message) => {
    const { socketPath } = await start('h1');
    const answer = await sendToPlugin(socketPath, '/VolumeDriver.Create', body);
    expect(answer.body['Err']).toContain(message);
    expect(backend.calls.filter((call) => call.startsWith('create'))).toEqual([]);
  });

  it('creates once, whatever comes again, and shows the volume on every host', async () => {
    await start('h1');
    await start('h2');
    expect(await ask('h1', 'Create', { Name: 'v1', Opts: { size: '1G' } })).toEqual({});
    expect(await ask('h1', 'Create', { Name: 'v1', Opts: { size: '1G' } })).toEqual({});
    expect(await ask('h2', 'Create', { Name: 'v1', Opts: null })).toEqual({});
    expect((await ask('h2', 'Create', { Name: 'v1', Opts: { size: '2G' } }))['Err']).toContain(
      'exists',
    );
    expect((await ask('h2', 'Create', { Name: 'v2', Opts: { sice: '2G' } }))['Err']).toContain(
      "'size'",
    );
    const shown = { Name: 'v1', Mountpoint: '', CreatedAt: '2026-01-01T00:00:00.000Z' };
    expect((await ask('h2', 'Get', { Name: 'v1' }))['Volume']).toMatchObject(shown);
    expect((await ask('h2', 'List', {}))['Volumes']).toMatchObject([shown]);
  });

  it('mounts only below a live mount, and counts nothing when it refuses', async () => {
    mountRoot = join(folder, 'nothing');
    await start('h1');
    await ask('h1', 'Create', { Name: 'v1' });
    // The look that follows every start must not be the one that settles this.
    await vi.waitFor(() => expect(backend.calls).toContain('list'), 10_000);
    expect((await ask('h1', 'Mount', { Name: 'v1', ID: 'a' }))['Err']).toContain(
      'nothing is mounted at',
    );
    expect(await ask('h1', 'Path', { Name: 'v1' })).toEqual({ Mountpoint: '' });
    // The attach that came before is taken back.
    await vi.waitFor(() => expect(backend.volumes.get('v1')?.users.size).toBe(0), 10_000);
  });

  it('leads a container through its life: get, mount, unmount, remove', async (context) => {
    context.skip(obstacle !== undefined, obstacle);
    await start('h1');
    await ask('h1', 'Create', { Name: 'v1' });
    expect(await ask('h1', 'Mount', { Name: 'v1', ID: 'a' })).toEqual({
      Mountpoint: mountpoint('v1'),
    });
    expect(await ask('h1', 'Path', { Name: 'v1' })).toEqual({ Mountpoint: mountpoint('v1') });
    expect((await ask('h1', 'Get', { Name: 'v1' }))['Volume']).toMatchObject({
      Mountpoint: mountpoint('v1'),
      Status: { replicas: 3, inUseBy: ['h1'], mountsOnThisHost: 1, cluster: 'reachable' },
    });
    expect((await ask('h1', 'Remove', { Name: 'v1' }))['Err']).toContain('in use on h1');
    expect(await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' })).toEqual({});
    expect(await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' })).toEqual({});
    expect(await ask('h1', 'Path', { Name: 'v1' })).toEqual({ Mountpoint: '' });
    expect(await ask('h1', 'Remove', { Name: 'v1' })).toEqual({});
    expect(await ask('h1', 'Remove', { Name: 'v1' })).toEqual({});
    expect(await ask('h1', 'List', {})).toEqual({ Volumes: [] });
  });

  it('refuses to remove what another host uses', async (context) => {
    context.skip(obstacle !== undefined, obstacle);
    await start('h1');
    await start('h2');
    await ask('h1', 'Create', { Name: 'v1' });
    await ask('h1', 'Mount', { Name: 'v1', ID: 'a' });
    expect((await ask('h2', 'Remove', { Name: 'v1' }))['Err']).toContain('in use on h1');
    await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' });
    expect(await ask('h2', 'Remove', { Name: 'v1' })).toEqual({});
  });

  it('keeps a volume mounted while one of two mounts under one id is left', async (context) => {
    context.skip(obstacle !== undefined, obstacle);
    await start('h1');
    await ask('h1', 'Create', { Name: 'v1' });
    await ask('h1', 'Mount', { Name: 'v1', ID: 'a' });
    await ask('h1', 'Mount', { Name: 'v1', ID: 'a' });
    await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' });
    expect([...(backend.volumes.get('v1')?.users ?? [])]).toEqual(['h1']);
    await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' });
    expect(backend.volumes.get('v1')?.users.size).toBe(0);
  });

  it('answers from what it knows while the cluster is away, also after a restart', async (context) => {
    context.skip(obstacle !== undefined, obstacle);
    const first = await start('h1');
    await ask('h1', 'Create', { Name: 'v1' });
    await ask('h1', 'Mount', { Name: 'v1', ID: 'a' });
    await first.close();
    backend.trouble = 'outage';
    await start('h1');
    const status = { cluster: 'not reachable: as last known' };
    expect((await ask('h1', 'Get', { Name: 'v1' }))['Volume']).toMatchObject({
      Mountpoint: mountpoint('v1'),
      Status: status,
    });
    expect((await ask('h1', 'List', {}))['Volumes']).toMatchObject([
      { Name: 'v1', Status: status },
    ]);
    // What is mounted here already may be mounted again; a new volume may not come into being.
    expect(await ask('h1', 'Mount', { Name: 'v1', ID: 'b' })).toEqual({
      Mountpoint: mountpoint('v1'),
    });
    expect((await ask('h1', 'Mount', { Name: 'v2', ID: 'c' }))['Err']).toContain('no majority');
    expect((await ask('h1', 'Create', { Name: 'twin' }))['Err']).toContain('no majority');
    expect((await ask('h1', 'Get', { Name: 'twin' }))['Err']).toContain('no majority');
    // The last Unmount is a success; the record of use follows when the cluster is back.
    await ask('h1', 'Unmount', { Name: 'v1', ID: 'a' });
    expect(await ask('h1', 'Unmount', { Name: 'v1', ID: 'b' })).toEqual({});
    backend.trouble = 'none';
    await vi.waitFor(() => expect(backend.volumes.get('v1')?.users.size).toBe(0), 10_000);
  });

  it('answers in seconds when the cluster says nothing, and other volumes do not wait', async (context) => {
    context.skip(obstacle !== undefined, obstacle);
    await start('h1');
    await ask('h1', 'Create', { Name: 'v1' });
    await ask('h1', 'Create', { Name: 'v2' });
    await ask('h1', 'Mount', { Name: 'v2', ID: 'x' });
    backend.trouble = 'silence';
    const slow = ask('h1', 'Mount', { Name: 'v1', ID: 'a' });
    expect(await ask('h1', 'Mount', { Name: 'v2', ID: 'y' })).toEqual({
      Mountpoint: mountpoint('v2'),
    });
    expect((await ask('h1', 'List', {}))['Volumes']).toHaveLength(2);
    expect((await slow)['Err']).toContain("no answer within 10 s: attaching 'v1'");
  }, 30_000);

  it('serves health and metrics beside the protocol', async () => {
    const { socketPath } = await start('h1');
    await ask('h1', 'List', {});
    expect(await readPlugin(socketPath, '/healthz')).toBe('{"status":"ok"}');
    expect(await readPlugin(socketPath, '/metrics')).toContain(
      'holdfast_volume_driver_calls_total{call="List",outcome="ok"} 1',
    );
  });

  it('takes the place of a killed driver, refuses that of a living one, removes its own', async () => {
    const socketPath = join(folder, 'h1', 'holdfast.sock');
    const driver = await start('h1');
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await expect(start('h1')).rejects.toMatchObject({ code: 'PORT_IN_USE' });
    await driver.close();
    expect(existsSync(socketPath)).toBe(false);
    // What a killed driver leaves: a socket file without a listener.
    const dead = createServer().listen(join(folder, 'h1', 'other.sock'));
    await once(dead, 'listening');
    renameSync(join(folder, 'h1', 'other.sock'), socketPath);
    dead.close();
    await once(dead, 'close');
    expect(existsSync(socketPath)).toBe(true);
    await start('h1');
    expect(await ask('h1', 'List', {})).toEqual({ Volumes: [] });
  });

  it('leaves alone what is no socket, and says what is wrong with a path', async () => {
    await start('h2');
    writeFileSync(join(folder, 'h2', 'file.sock'), 'precious');
    const options = {
      backend,
      log,
      host: 'h2',
      stateDirectory: join(folder, 'h2'),
      engineSocket: '',
    };
    const at = (socketPath: string): Promise<unknown> =>
      startVolumeDriver({ ...options, socketPath });
    await expect(at(join(folder, 'h2', 'file.sock'))).rejects.toThrow('not a socket');
    await expect(at(join(folder, 'x'.repeat(100), 'y.sock'))).rejects.toThrow('107 bytes');
    expect(readdirSync(join(folder, 'h2'))).toContain('file.sock');
  });

  it('introduces itself to every engine that comes up', async () => {
    const engineSocket = join(folder, 'docker.sock');
    await start('h1', engineSocket); // before there is an engine
    const looked = (engine: FakeEngine): boolean => engine.asked.includes('/volumes');
    const first = new FakeEngine(engineSocket, 'holdfast');
    await first.start();
    await vi.waitFor(() => expect(looked(first)).toBe(true), 10_000);
    await first.stop();
    const second = new FakeEngine(engineSocket, 'holdfast');
    await second.start();
    await vi.waitFor(() => expect(looked(second)).toBe(true), 20_000);
    await second.stop();
  });
});
