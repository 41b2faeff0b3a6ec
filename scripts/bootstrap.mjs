// Brings a fresh Debian to the point where a task runs, then runs it: `node bootstrap.mjs TASK`.
// Plain JavaScript without dependencies, because it runs before anything is installed (Node 20).
import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installDebianPackages } from './debian-packages.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** Written into .tools/, never system-wide; the lockfile was made by this version. */
const PNPM_VERSION = '12.21.0';
const NODE_MAJOR_MIN = 20;

/** What each task runs under Node 24, and what of the machine it needs first. */
const TASKS = {
  setup: { needs: [], run: [] },
  demo: { needs: ['root', 'fuse', 'demo-packages'], run: ['test/demo/main.ts'] },
  test: { needs: ['root', 'fuse', 'test-packages'], run: ['scripts/test.ts'] },
  static: { needs: [], run: ['scripts/test.ts', 'typecheck', 'format', 'lint', 'knip'] },
  unit: { needs: [], run: ['scripts/test.ts', 'unit'] },
};

function say(line) {
  console.log(`[holdfast] ${line}`);
}

/** Ends with one sentence that names the way out. */
function refuse(sentence) {
  console.error(`[holdfast] ${sentence}`);
  process.exit(1);
}

function checkMachine(task, needs) {
  if (process.platform !== 'linux')
    refuse(`Holdfast runs on Linux only, this is ${process.platform}: use a Debian 12 host.`);
  if (process.arch !== 'x64' && process.arch !== 'arm64')
    refuse(`Holdfast needs an x64 or arm64 processor, this one is ${process.arch}.`);
  const major = Number(process.versions.node.split('.')[0]);
  if (major < NODE_MAJOR_MIN)
    refuse(`Node.js ${NODE_MAJOR_MIN} or newer is needed to begin, this is ${process.version}.`);
  if (needs.includes('root') && process.getuid?.() !== 0)
    refuse(`this task mounts file systems and needs root: run 'sudo npm run ${task}'.`);
  if (needs.includes('fuse')) checkFuse();
}

function checkFuse() {
  if (!existsSync('/dev/fuse')) spawnSync('modprobe', ['fuse']);
  try {
    accessSync('/dev/fuse', constants.R_OK | constants.W_OK);
  } catch {
    refuse(
      '/dev/fuse is missing or closed: load it with `modprobe fuse`; in a container, start it with --device /dev/fuse --cap-add SYS_ADMIN.',
    );
  }
}

/** Runs a command with its output shown; a failure ends the set-up with what was being done. */
function run(command, args, { why, env = process.env }) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (error) refuse(`${why} failed: ${command} did not start (${error.message}).`);
  if (status !== 0) refuse(`${why} failed: \`${command} ${args.join(' ')}\` ended with ${status}.`);
}

/** The path of the pinned pnpm, installed if it is not there yet. */
function bringPnpm() {
  const home = join(root, '.tools', 'pnpm');
  const pnpm = join(home, 'node_modules', '.bin', 'pnpm');
  const manifest = join(home, 'node_modules', 'pnpm', 'package.json');
  const installed = existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).version;
  if (installed !== PNPM_VERSION || spawnSync(pnpm, ['--version']).status !== 0) {
    say(`installing pnpm ${PNPM_VERSION} into .tools/: it reads the lockfile of the workspace`);
    const quiet = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'];
    // The binary is put in place by pnpm's own install script, so scripts are allowed for this one.
    run(
      'npm',
      ['install', '--prefix', home, ...quiet, '--ignore-scripts=false', `pnpm@${PNPM_VERSION}`],
      {
        why: 'installing pnpm',
        env: { ...process.env, npm_config_update_notifier: 'false' },
      },
    );
  }
  return pnpm;
}

/** Installs the workspace exactly as locked; gives the path of the Node 24 that came with it. */
function bringDependencies(pnpm) {
  say('installing dependencies as locked, with Node.js 24 among them (node-linux-*)');
  run(pnpm, ['install', '--frozen-lockfile', '--prefer-offline', '--reporter=append-only'], {
    why: 'installing dependencies',
  });
  const node = join(root, 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  if (!existsSync(node)) refuse(`${node} is missing: delete node_modules and run this again.`);
  return node;
}

const [taskName = '', ...rest] = process.argv.slice(2);
const task = Object.hasOwn(TASKS, taskName) ? TASKS[taskName] : undefined;
if (task === undefined)
  refuse(`unknown task '${taskName}': one of ${Object.keys(TASKS).join(', ')}.`);

checkMachine(taskName, task.needs);
const pnpm = bringPnpm();
const node = bringDependencies(pnpm);
for (const list of ['demo', 'test'])
  if (task.needs.includes(`${list}-packages`)) installDebianPackages(list, { say, refuse });

if (task.run.length === 0) {
  say('ready: bin/holdfast is the command, `npm run demo` shows it, `npm test` checks it');
} else {
  runTask(node, [join(root, task.run[0]), ...task.run.slice(1), ...rest]);
}

/** Hands over to the task: its output, its exit status, and every request to stop. */
function runTask(node, args) {
  const tools = [dirname(node), join(root, 'node_modules', '.bin'), dirname(pnpm)];
  const child = spawn(node, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, PATH: [...tools, process.env.PATH].join(':') },
  });
  // A terminal sends Ctrl-C to both; this one waits until the task has cleaned up.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  child.on('error', (error) => refuse(`the task did not start: ${error.message}.`));
  child.on('exit', (status) => process.exit(status ?? 1));
}
