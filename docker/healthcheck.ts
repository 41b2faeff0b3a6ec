/**
 * Health of a Holdfast container: the peer answers, and so do the volume driver and the mounts as far
 * as they are there. Exit status 0 or 1; the caller limits the time, because a dead mount may hang.
 */
import { existsSync, readFileSync, statfsSync } from 'node:fs';
import { get } from 'node:http';

const PLUGIN_SOCKET = '/run/docker/plugins/holdfast.sock';
const DEFAULT_PORT = 7400;
/** The port of /healthz is the fifth of a peer. */
const PROBE_OFFSET = 4;

/** Resolves when the address answers 200 to GET /healthz. */
function answers(what: string, address: { port: number } | { socketPath: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const asked = get({ host: '127.0.0.1', path: '/healthz', ...address }, (response) => {
      response.resume();
      if (response.statusCode === 200) resolve();
      else reject(new Error(`${what}: status ${response.statusCode}`));
    });
    asked.once('error', (error) => reject(new Error(`${what}: ${error.message}`)));
  });
}

try {
  const port = Number(process.env['HOLDFAST_PORT'] || DEFAULT_PORT) + PROBE_OFFSET;
  await answers('peer', { port });
  if (existsSync(PLUGIN_SOCKET)) await answers('volume driver', { socketPath: PLUGIN_SOCKET });
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, path, type] = line.split(' ');
    if (type === 'fuse.holdfast' && path !== undefined) statfsSync(path);
  }
} catch (error) {
  process.stderr.write(`unhealthy: ${String(error)}\n`);
  process.exitCode = 1;
}
