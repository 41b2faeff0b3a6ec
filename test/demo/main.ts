/**
 * `npm run demo [-- --once]`: three peers on this machine, a real tree copied in, one peer killed,
 * every file read back elsewhere, the peer brought back. With --once it cleans up and exits.
 */
import { join } from 'node:path';
import { parseArgs, styleText } from 'node:util';
import { type LocalCluster, startLocalCluster, until } from './local-cluster.ts';
import {
  appendLines,
  copyTree,
  type Manifest,
  makeManifest,
  type Progress,
  verifyTree,
} from './tree-copy.ts';

const TREES = ['include', 'share/doc'];
/** Files that are copied at a time. */
const WIDTH = 24;
// Before the first file call: its threads are made then.
process.env['UV_THREADPOOL_SIZE'] = String(WIDTH);

const { values: options } = parseArgs({ options: { once: { type: 'boolean', default: false } } });
const started = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(5);
  console.log(`${styleText('dim', `${seconds} s`)}  ${line}`);
}

/** One line that is rewritten on a terminal, and said in steps elsewhere. */
function bar(label: string): Progress {
  let said = 0;
  return (done, total) => {
    const percent = Math.floor((100 * done) / total);
    if (process.stdout.isTTY)
      process.stdout.write(
        `\r         ${label}: ${done} of ${total} files (${percent} %)${done === total ? '\n' : ''}`,
      );
    else if (percent >= said + 25) {
      said = percent - (percent % 25);
      say(`${label}: ${said} %`);
    }
  };
}

async function check(cluster: LocalCluster, peer: number, manifest: Manifest): Promise<void> {
  const { name, mountPath } = cluster.peer(peer);
  const progress = bar(`reading back on ${name}`);
  const wrong = await verifyTree(join(mountPath, 'demo'), manifest, progress);
  if (wrong.length > 0)
    throw new Error(`${wrong.length} files differ on ${name}, first: ${wrong[0]}`);
  say(styleText('green', `every file reads with the right checksum on ${name}`));
}

async function demo(cluster: LocalCluster, manifest: Manifest): Promise<void> {
  say(
    `copying /usr/include and /usr/share/doc: ${manifest.files.length} files, ${Math.round(manifest.bytes / 2 ** 20)} MiB`,
  );
  const onFirst = await cluster.volume('demo');
  await copyTree('/usr', onFirst, manifest, WIDTH, bar(`copying into ${onFirst}`));

  const victim = cluster.peer(2);
  await victim.killNode();
  say(`peer ${victim.name} killed with SIGKILL`);
  for (const survivor of [0, 1]) await check(cluster, survivor, manifest);
  await appendLines(join(onFirst, 'while-down'), 20);
  say('writes go on with one peer down');

  victim.startNode();
  await victim.ready();
  say(`peer ${victim.name} is back; waiting until it has caught up`);
  await until('catching up', async () => (await statusOf(cluster)).caughtUp);
  say(styleText('green', `peer ${victim.name} has caught up`));
}

async function statusOf(cluster: LocalCluster): Promise<{ caughtUp: boolean }> {
  const status = JSON.parse(await cluster.peer(2).holdfast('--json', 'status')) as {
    nodes: { state: string }[];
    shards: { leader: number; commit: number; applied: number }[];
    health: string;
  };
  const up = status.nodes.every((node) => node.state === 'up');
  return {
    caughtUp:
      up &&
      status.health === 'ok' &&
      status.shards.every((s) => s.leader !== 0 && s.applied === s.commit),
  };
}

say('starting three peers, each with its own data directory and mount');
const [cluster, manifest] = await Promise.all([
  startLocalCluster({ peers: 3, discovery: true, report: say }),
  makeManifest('/usr', TREES),
]);
let stopping = false;
async function stop(status: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  say('stopping and cleaning up');
  await cluster.close();
  process.exitCode = status;
}

try {
  await demo(cluster, manifest);
  if (options.once) await stop(0);
  else {
    say(
      `the cluster stays up: try ${cluster.peers.map((peer) => join(peer.mountPath, 'demo')).join(', ')}`,
    );
    say(
      `and: bin/holdfast --data ${cluster.peer(0).dataDirectory} status   (Ctrl-C ends it and cleans up)`,
    );
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop(0));
  }
} catch (error) {
  console.error(
    styleText('red', `demo failed: ${error instanceof Error ? error.message : String(error)}`),
  );
  for (const peer of cluster.peers)
    console.error(`--- last lines of ${peer.name}\n${peer.log('node')}\n${peer.log('mount')}`);
  await stop(1);
}
