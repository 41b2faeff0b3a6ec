import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { LabError } from './errors.ts';
import { run } from './processes.ts';

/** What a root file system holds beside busybox. */
export interface RootfsOptions {
  /** With the Node that runs this as /usr/local/bin/node, or only with the libraries it needs. */
  readonly node?: 'program' | 'libraries';
  /** Absolute paths of more programs of this machine. */
  readonly programs?: readonly string[];
}

/**
 * Writes a tar of a small root file system made from this machine's own files: busybox with all its
 * applets, and the wanted programs with the shared libraries they need. It takes the place of a base
 * image where no registry can be reached. Needs the Debian package busybox-static.
 */
export async function packRootfs(tar: string, options: RootfsOptions = {}): Promise<void> {
  const root = mkdtempSync(join(tmpdir(), 'holdfast-rootfs-'));
  try {
    makeSkeleton(root);
    await addBusybox(root);
    for (const program of options.programs ?? []) await addProgram(root, program, program);
    if (options.node !== undefined) await addLibraries(root, process.execPath);
    if (options.node === 'program') await addProgram(root, process.execPath, '/usr/local/bin/node');
    const pack = ['tar', '-C', root, '--owner=0', '--group=0', '-cf', tar, '.'];
    await run(pack, { timeoutMs: 120_000 });
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function makeSkeleton(root: string): void {
  const folders = ['bin', 'sbin', 'lib', 'lib64', 'usr/bin', 'usr/local/bin', 'etc', 'proc', 'sys'];
  for (const folder of [...folders, 'dev', 'run', 'root', 'var', 'mnt', 'tmp']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  chmodSync(join(root, 'tmp'), 0o1777);
  writeFileSync(join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(root, 'etc/group'), 'root:x:0:\n');
  writeFileSync(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
}

async function addBusybox(root: string): Promise<void> {
  const source = ['/bin/busybox', '/usr/bin/busybox'].find((path) => existsSync(path));
  if (source === undefined) throw new LabError('no busybox: apt-get install busybox-static');
  copyFileSync(source, join(root, 'bin/busybox'));
  const { stdout } = await run([source, '--list']);
  for (const applet of stdout.trim().split('\n')) {
    if (applet !== 'busybox') symlinkSync('busybox', join(root, 'bin', applet));
  }
}

/** Copies a program to `target` and its libraries to where the loader looks for them. */
async function addProgram(root: string, source: string, target: string): Promise<void> {
  place(root, source, target);
  chmodSync(join(root, target), 0o755);
  await addLibraries(root, source);
}

async function addLibraries(root: string, program: string): Promise<void> {
  // Each line: "libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x...)" or "/lib64/ld-linux... (0x...)".
  const { stdout } = await run(['ldd', program], { check: false });
  for (const [library] of stdout.matchAll(/\/[^ )]+/g)) place(root, library, library);
}

function place(root: string, source: string, target: string): void {
  mkdirSync(dirname(join(root, target)), { recursive: true });
  copyFileSync(realpathSync(source), join(root, target));
}
