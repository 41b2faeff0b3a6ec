import { execFile } from 'node:child_process';
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Acknowledger } from '../applications/processes.ts';
import { type LocalCluster, startLocalCluster, until } from '../demo/local-cluster.ts';

const run = promisify(execFile);
const WRITER = fileURLToPath(new URL('./acknowledged-writer.ts', import.meta.url));

describe('failures under a writer that notes what was acknowledged', () => {
  let cluster: LocalCluster;
  let writer: Acknowledger;
  let round = 0;
  const on = (peer: number, ...names: string[]): string =>
    join(cluster.peer(peer).mountPath, 'v', ...names);
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 3, discovery: true });
    await cluster.volume('v');
  });
  afterAll(async () => {
    await writer?.kill();
    await cluster?.close();
  });
  beforeEach(() => {
    round++;
    writer = new Acknowledger(process.execPath, [WRITER, on(0, `round${round}`)]);
  });

  /** Everything that was acknowledged reads right on a peer. */
  function expectComplete(peer: number): void {
    const last = writer.acknowledged.length;
    const lines = readFileSync(on(peer, `round${round}`, 'log'), 'utf8').split('\n');
    for (let i = 1; i <= last; i++) expect(lines[i - 1]).toBe(`line ${i}`);
    for (let i = 10; i <= last; i += 10) {
      const bytes = readFileSync(on(peer, `round${round}`, `file-${i}`));
      expect(bytes.equals(Buffer.alloc(100_000, String(i % 10)))).toBe(true);
    }
  }

  async function writesOn(): Promise<void> {
    await writer.atLeast(writer.acknowledged.length + 30);
  }

  it('loses nothing and goes on when each peer in turn is killed and comes back', async () => {
    await writesOn();
    for (const victim of [2, 1, 0]) {
      await cluster.peer(victim).killNode();
      await writesOn();
      cluster.peer(victim).startNode();
      await cluster.peer(victim).ready();
      await writesOn();
    }
    await writer.kill();
    for (const peer of [0, 1, 2]) expectComplete(peer);
  });

  it('does not notice when the mount daemon is killed again and again', async () => {
    await writesOn();
    for (let i = 0; i < 3; i++) {
      const pid = await cluster.peer(0).mountDaemonPid();
      process.kill(pid, 'SIGKILL');
      await writesOn();
      expect(await cluster.peer(0).mountDaemonPid()).not.toBe(pid);
    }
    expect(writer.child.exitCode).toBeNull();
    await writer.kill();
    expectComplete(1);
  });

  it('waits out a frozen peer', async () => {
    await writesOn();
    const pid = cluster.peer(1).nodePid;
    if (pid === undefined) throw new Error('no peer');
    process.kill(pid, 'SIGSTOP');
    try {
      await writesOn();
    } finally {
      process.kill(pid, 'SIGCONT');
    }
    await writesOn();
    await writer.kill();
    for (const peer of [0, 1, 2]) expectComplete(peer);
  });

  it('moves small writes out of the metadata, though its leader dies meanwhile', async () => {
    await writer.kill();
    const bytes = Buffer.alloc(2 ** 20);
    const file = openSync(
      on(0, 'pieces'),
      constants.O_CREAT | constants.O_WRONLY | constants.O_SYNC,
    );
    for (let at = 0; at < bytes.length; at += 4096) {
      bytes.fill(`${at},`, at, at + 4096);
      writeSync(file, bytes, at, 4096, at);
    }
    closeSync(file);
    const leader = await cluster.leaderOf('v');
    await leader.killNode();
    leader.startNode();
    await leader.ready();
    const before = await cluster.metric('holdfast_inline_moved_bytes_total');
    await until('small writes are in chunks', async () => {
      const moved = await cluster.metric('holdfast_inline_moved_bytes_total');
      return moved - before >= bytes.length;
    });
    for (const peer of [0, 1, 2]) expect(readFileSync(on(peer, 'pieces')).equals(bytes)).toBe(true);
  });

  it('keeps what was acknowledged when all peers are killed at once', async () => {
    await writesOn();
    await Promise.all(cluster.peers.map((peer) => peer.killNode()));
    await writer.kill();
    for (const peer of cluster.peers) peer.startNode();
    for (const peer of cluster.peers) await peer.ready();
    await until('the namespace', () =>
      run('stat', [on(0, `round${round}`, 'log')]).then(
        () => true,
        () => false,
      ),
    );
    for (const peer of [0, 1, 2]) expectComplete(peer);
  });

  it('answers with an errno after the bounded wait while there is no quorum, and goes on by itself', async () => {
    await writesOn();
    await writer.kill();
    await cluster.peer(0).stopMount();
    await cluster.peer(0).startMount('--wait', '5000');
    await Promise.all([cluster.peer(1).killNode(), cluster.peer(2).killNode()]);
    const failed = await run('sh', ['-c', 'echo x >"$0"', on(0, 'without-quorum')]).then(
      () => '',
      (error: { stderr: string }) => error.stderr,
    );
    expect(failed).toMatch(/timed out/i);
    for (const peer of [1, 2]) cluster.peer(peer).startNode();
    for (const peer of [1, 2]) await cluster.peer(peer).ready();
    await until('writing', () =>
      run('sh', ['-c', 'echo x >"$0"', on(0, 'with-quorum')]).then(
        () => true,
        () => false,
      ),
    );
    expect(readFileSync(on(2, 'with-quorum'), 'utf8')).toBe('x\n');
  });
});

describe('growth while data flows', () => {
  let cluster: LocalCluster;
  beforeAll(async () => {
    cluster = await startLocalCluster({ peers: 1, discovery: true });
    await cluster.volume('v');
  });
  afterAll(async () => {
    await cluster?.close();
  });

  it('goes from one peer to four under a writer, and then survives the first peer', async () => {
    const directory = join(cluster.peer(0).mountPath, 'v', 'data');
    const writer = new Acknowledger(process.execPath, [WRITER, directory]);
    try {
      await writer.atLeast(20);
      for (let i = 0; i < 3; i++) {
        await cluster.addPeer();
        await writer.atLeast(writer.acknowledged.length + 20);
      }
      await until('three copies everywhere', () => cluster.settled(), 120_000);
      writeFileSync(join(cluster.peer(3).mountPath, 'v', 'from-the-fourth'), 'hello');
    } finally {
      await writer.kill();
    }
    await cluster.peer(0).killNode();
    const there = join(cluster.peer(3).mountPath, 'v');
    expect(readFileSync(join(there, 'from-the-fourth'), 'utf8')).toBe('hello');
    const lines = readFileSync(join(there, 'data', 'log'), 'utf8').split('\n');
    for (const i of writer.acknowledged) expect(lines[Number(i) - 1]).toBe(`line ${i}`);
    for (const name of readdirSync(join(there, 'data')).filter((file) =>
      file.startsWith('file-'),
    )) {
      expect(statSync(join(there, 'data', name)).size).toBe(100_000);
      expect(readFileSync(join(there, 'data', name))).toHaveLength(100_000);
    }
  });
});
