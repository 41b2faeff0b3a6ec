import { accessSync, constants, existsSync, readFileSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import type { ClusterStatus } from '@holdfast/node';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { type Context, contextOf } from '../context.ts';
import { bytesText } from '../output.ts';

/** Bytes that a data directory should have free. */
const FREE_BYTES_MIN = 5 * 2 ** 30;
const NODE_MAJOR_MIN = 24;

/** One thing looked at: fine, or what is wrong and the way out. */
interface Finding {
  readonly check: string;
  readonly ok: boolean;
  readonly message: string;
}

/** `holdfast doctor` */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look for what keeps Holdfast from working on this host')
    .option('--mount-path <path>', 'where the namespace is shown', '/mnt/cluster')
    .action(async (options: { mountPath: string }, command: Command) => {
      const context = contextOf(command);
      const findings = [
        ...machine(),
        ...data(context.dataDirectory),
        mount(options.mountPath),
        await cluster(context),
      ];
      context.output.result(findings, () =>
        findings.map(
          (finding) => `${finding.ok ? 'ok  ' : 'FAIL'}  ${finding.check}: ${finding.message}`,
        ),
      );
      const failed = findings.filter((finding) => !finding.ok).length;
      if (failed > 0)
        throw new HoldfastError('CONFLICT', `${failed} of ${findings.length} checks failed`);
    });
}

function machine(): Finding[] {
  const major = Number(process.versions.node.split('.')[0]);
  return [
    check(
      'Node.js',
      major >= NODE_MAJOR_MIN,
      process.version,
      `${process.version}; run 'npm run setup' for ${NODE_MAJOR_MIN}`,
    ),
    check(
      'root',
      process.getuid?.() === 0,
      'running as root',
      'not root; mounting needs it: use sudo',
    ),
    check(
      '/dev/fuse',
      usable('/dev/fuse'),
      'can be opened',
      "missing or closed; run 'modprobe fuse', or give the container --device /dev/fuse",
    ),
  ];
}

function data(directory: string): Finding[] {
  const member = existsSync(join(directory, 'identity', 'identity.json'));
  const findings = [
    check(
      'membership',
      member,
      `identity in ${directory}`,
      `no cluster in ${directory}; run 'holdfast init' or 'holdfast join TOKEN'`,
    ),
  ];
  if (existsSync(directory)) {
    const { bavail, bsize } = statfsSync(directory);
    const free = bavail * bsize;
    findings.push(
      check(
        'room',
        free >= FREE_BYTES_MIN,
        `${bytesText(free)} free`,
        `only ${bytesText(free)} free in ${directory}; give it ${bytesText(FREE_BYTES_MIN)} or more`,
      ),
    );
  }
  return findings;
}

function mount(path: string): Finding {
  const mounted = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === path && (line.split(' ')[2] ?? '').startsWith('fuse'));
  return check(
    'mount',
    mounted,
    `${path} is mounted`,
    `${path} is not mounted; run 'holdfast mount ${path}'`,
  );
}

async function cluster(context: Context): Promise<Finding> {
  try {
    const status = await context.admin<ClusterStatus>('GET', '/v1/status');
    const reasons = status.reasons.map(({ message, fix }) => `${message} (${fix})`).join('; ');
    return check(
      'cluster',
      status.health !== 'error',
      `health ${status.health}${reasons === '' ? '' : `: ${reasons}`}`,
      reasons,
    );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return check('cluster', false, '', error.message);
  }
}

function usable(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

function check(name: string, ok: boolean, fine: string, wrong: string): Finding {
  return { check: name, ok, message: ok ? fine : wrong };
}
