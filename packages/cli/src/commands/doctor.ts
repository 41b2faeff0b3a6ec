import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import type { ClusterStatus } from '@holdfast/node';
import { HoldfastError } from '@holdfast/protocol';
import type { Command } from 'commander';
import { type Context, contextOf, isMember } from '../context.ts';
import { checkCertificate } from '../doctor/certificate-check.ts';
import { checkDriver } from '../doctor/driver-check.ts';
import { type Finding, finding } from '../doctor/finding.ts';
import { checkMount } from '../doctor/mount-check.ts';
import { EXIT } from '../failures.ts';
import { mountPoint } from '../mount-point.ts';
import { bytesText } from '../output.ts';

/** Bytes that a data directory should have free. */
const FREE_BYTES_MIN = 5 * 2 ** 30;
const NODE_MAJOR_MIN = 24;

interface DoctorOptions {
  readonly mountPath: string;
  readonly socket: string;
  readonly engine: string;
}

/** `holdfast doctor` */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look for what keeps Holdfast from working on this host')
    .option('--mount-path <path>', 'where the namespace is shown', '/mnt/cluster')
    .option('--socket <path>', "the volume driver's socket", '/run/docker/plugins/holdfast.sock')
    .option('--engine <path>', "the engine's socket", '/run/docker.sock')
    .action(async (options: DoctorOptions, command: Command) => {
      const context = contextOf(command);
      const findings = [
        ...machine(),
        ...data(context.dataDirectory),
        ...(await checkCertificate(context.dataDirectory, Date.now())),
        ...(await checkMount(mountPoint(options.mountPath))),
        await checkDriver({ driver: options.socket, engine: options.engine }),
        await cluster(context),
      ];
      context.output.result(findings, () =>
        findings.map(({ ok, check, message }) => `${ok ? 'ok  ' : 'FAIL'}  ${check}: ${message}`),
      );
      const failed = findings.filter(({ ok }) => !ok).length;
      if (failed === 0) return;
      context.output.progress(`${failed} of ${findings.length} checks failed`);
      process.exitCode = EXIT.failure;
    });
}

function machine(): Finding[] {
  const major = Number(process.versions.node.split('.')[0]);
  return [
    finding(
      'Node.js',
      major >= NODE_MAJOR_MIN,
      process.version,
      `${process.version}; run 'npm run setup' for ${NODE_MAJOR_MIN}`,
    ),
    finding(
      'root',
      process.getuid?.() === 0,
      'running as root',
      'not root; mounting needs it: use sudo',
    ),
    finding(
      '/dev/fuse',
      usable('/dev/fuse'),
      'can be opened',
      "missing or closed; run 'modprobe fuse', or give the container --device /dev/fuse",
    ),
  ];
}

function data(directory: string): Finding[] {
  const member = isMember(directory);
  const findings = [
    finding(
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
      finding(
        'room',
        free >= FREE_BYTES_MIN,
        `${bytesText(free)} free`,
        `only ${bytesText(free)} free in ${directory}; give it ${bytesText(FREE_BYTES_MIN)} or more`,
      ),
    );
  }
  return findings;
}

async function cluster(context: Context): Promise<Finding> {
  try {
    const status = await context.admin<ClusterStatus>('GET', '/v1/status');
    const reasons = status.reasons.map(({ message, fix }) => `${message} (${fix})`).join('; ');
    return finding(
      'cluster',
      status.health !== 'error',
      `health ${status.health}${reasons === '' ? '' : `: ${reasons}`}`,
      reasons,
    );
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    return finding('cluster', false, '', error.message);
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
