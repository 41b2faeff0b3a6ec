import { execFile } from 'node:child_process';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { keeperPid, type MountPoint } from '../mount-point.ts';
import { isMounted } from '../mount-target.ts';
import { type Finding, finding } from './finding.ts';

/** Milliseconds for one answer of the mount; without a cluster it takes about two. */
const ANSWER_MS = 10_000;
/** Milliseconds that a daemon must have run so that its last end is history. */
const SETTLED_MS = 600_000;

/** What a mounted path answers: nothing in time, an error's text, or well. */
export type Probe = (path: string) => Promise<'well' | 'silence' | { readonly error: string }>;

/**
 * Asks the file system, by statfs(2), which no kernel cache answers. In a process of its own: a call
 * into a mount that hangs would keep this one from ending.
 */
const probeMount: Probe = (path) => probeBy('stat', ['-f', path], ANSWER_MS);

/** {@link probeMount} with another program and limit. */
export function probeBy(
  program: string,
  args: readonly string[],
  limitMs: number,
): ReturnType<Probe> {
  const env = { ...process.env, LC_ALL: 'C' };
  return new Promise((resolve) => {
    const child = execFile(program, args, { env }, (error, _out, said) => {
      clearTimeout(timer);
      resolve(error === null ? 'well' : { error: said.trim() || error.message });
    });
    const timer = setTimeout(() => {
      // Killing does not end a process whose request the daemon has read: it is left behind.
      child.kill('SIGKILL');
      child.stdout?.destroy();
      child.stderr?.destroy();
      child.unref();
      resolve('silence');
    }, limitMs);
  });
}

/** Whether the namespace is mounted and really answers, and how its daemon fares. */
export async function checkMount(
  mount: MountPoint,
  probe: Probe = probeMount,
  mounted: boolean = isMounted(mount.path),
): Promise<Finding[]> {
  const { path } = mount;
  if (!mounted) {
    const wrong = `${path} is not mounted; start 'holdfast run', or 'holdfast mount ${path}' alone`;
    return [finding('mount', false, '', wrong)];
  }
  const answer = await probe(path);
  if (answer !== 'well') return [finding('mount', false, '', ailing(mount, answer))];
  return [finding('mount', true, `${path} is mounted and answers`, ''), ...daemon(mount)];
}

function ailing(
  { path, stateDirectory }: MountPoint,
  answer: 'silence' | { error: string },
): string {
  if (answer === 'silence') {
    const pid = numberIn(join(stateDirectory, 'daemon.pid'));
    const who = pid === undefined ? 'the mount daemon' : `the mount daemon, process ${pid}`;
    return `${path} does not answer for ${ANSWER_MS / 1000} s; look at the cluster below, then end ${who}, by SIGKILL: its keeper starts another, and open files stay`;
  }
  if (/not connected/i.test(answer.error)) {
    return `${path} is dead, its keeper was killed (${answer.error}); stop the containers that use it, then start 'holdfast run' again, which replaces the mount`;
  }
  return `${path} is mounted but fails: ${answer.error}; see the log of the mount`;
}

/** How often the keeper had to start the daemon again; nothing when the keeper is not seen from here. */
function daemon(mount: MountPoint): Finding[] {
  if (keeperPid(mount) === undefined) return [];
  const file = (name: string): string => join(mount.stateDirectory, name);
  const restarts = numberIn(file('restarts')) ?? 0;
  if (restarts === 0 || !existsSync(file('daemon.pid')))
    return [finding('mount daemon', true, 'has not ended since the mount was made', '')];
  const ageMs = Date.now() - statSync(file('daemon.pid')).mtimeMs;
  const story = `started again ${restarts} times, the last time ${Math.round(ageMs / 1000)} s ago`;
  const wrong = `${story}; its log says why (journalctl, docker logs, or ${file('log')})`;
  return [finding('mount daemon', ageMs > SETTLED_MS, story, wrong)];
}

/** The positive number in a file; undefined when there is none. */
function numberIn(path: string): number | undefined {
  if (!existsSync(path)) return undefined;
  const number = Number(readFileSync(path, 'utf8').trim());
  return Number.isInteger(number) && number > 0 ? number : undefined;
}
