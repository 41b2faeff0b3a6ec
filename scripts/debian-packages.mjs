// The Debian packages a task needs, and their installation without starting a single service.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * Package → a program it brings. The program decides, so that another source of the same thing
 * (docker-ce, a PostgreSQL of one's own) is accepted. `*` stands for a version directory.
 */
const PROGRAMS = {
  acl: 'setfacl',
  attr: 'setfattr',
  'busybox-static': 'busybox',
  'docker-compose': 'docker-compose',
  'docker.io': 'dockerd',
  e2fsprogs: 'mkfs.ext4',
  ebtables: 'ebtables',
  fio: 'fio',
  fuse3: 'fusermount3',
  git: 'git',
  iproute2: 'ip',
  iptables: 'iptables',
  kmod: 'modprobe',
  'libarchive-tools': 'bsdtar',
  'linux-libc-dev': '/usr/include/*/fuse.h',
  mount: 'mount',
  openssl: 'openssl',
  postgresql: '/usr/lib/postgresql/*/bin/initdb',
  procps: 'ps',
  python3: 'python3',
  restic: 'restic',
  sqlite3: 'sqlite3',
  strace: 'strace',
  tar: 'tar',
  unzip: 'unzip',
  'util-linux': 'nsenter',
  zip: 'zip',
  zstd: 'zstd',
};

/** What for, shown to the user before anything is installed. */
const LISTS = {
  demo: { why: 'the demo mounts and lists processes', packages: ['mount', 'procps'] },
  test: {
    why: 'the tests build hosts with a Docker Engine each and run real applications on the mount',
    packages: Object.keys(PROGRAMS),
  },
};

const SYSTEM_DIRECTORIES = ['/usr/sbin', '/usr/bin', '/sbin', '/bin'];
const POLICY = '/usr/sbin/policy-rc.d';

function isPresent(program) {
  const star = program.indexOf('/*/');
  if (star >= 0) {
    const base = program.slice(0, star);
    const below = program.slice(star + 3);
    return (
      existsSync(base) && readdirSync(base).some((name) => existsSync(join(base, name, below)))
    );
  }
  const directories = [...SYSTEM_DIRECTORIES, ...(process.env.PATH ?? '').split(delimiter)];
  return directories.some((directory) => existsSync(join(directory, program)));
}

/** The packages of a list whose program is not on this machine. */
function missingOf(list) {
  return LISTS[list].packages.filter((name) => !isPresent(PROGRAMS[name]));
}

/**
 * Installs what is missing for a list ('demo' or 'test'). `say` tells the user, `refuse` ends the
 * program with one sentence.
 */
export function installDebianPackages(list, { say, refuse }) {
  const missing = missingOf(list);
  if (missing.length === 0) return;
  const names = missing.join(' ');
  if (!isPresent('apt-get'))
    refuse(`these programs are missing and there is no apt-get to bring them: install ${names}.`);
  say(`installing Debian packages (${LISTS[list].why}; no service is started): ${names}`);

  const undo = holdServicesBack();
  try {
    apt(['update', '-q'], refuse);
    apt(['install', '-q', '-y', '--no-install-recommends', ...missing], refuse);
  } finally {
    undo();
  }
  const still = missingOf(list);
  if (still.length > 0) refuse(`still missing after the installation: ${still.join(' ')}.`);
}

/** Keeps maintainer scripts from starting services while apt works; gives what puts it back. */
function holdServicesBack() {
  const written = [];
  const write = (path, text, mode) => {
    if (existsSync(path)) return;
    writeFileSync(path, text, { mode });
    written.push(path);
  };
  write(POLICY, '#!/bin/sh\nexit 101\n', 0o755);
  const undo = () => {
    for (const path of written.splice(0)) rmSync(path, { force: true });
  };
  // refuse() ends the process without unwinding: the guard must not outlive it.
  process.on('exit', undo);
  // Ctrl-C reaches apt as well; without this it would end us before the line above.
  process.on('SIGINT', () => {});
  return undo;
}

function apt(args, refuse) {
  const { status } = spawnSync('apt-get', args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' },
  });
  if (status !== 0)
    refuse(`\`apt-get ${args[0]}\` failed: check the network and /etc/apt, then run this again.`);
}
