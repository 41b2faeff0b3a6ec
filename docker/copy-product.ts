/**
 * Copies what a running Holdfast needs out of the workspace, and nothing else: the command, the
 * packages it reaches (without their tests) and, of node_modules, what these depend on. Layout and
 * symbolic links stay as they are, so that modules resolve as in the workspace.
 * usage: node docker/copy-product.ts TARGET
 */
import { execFileSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

const NODE_MAJOR_MIN = 24;

const root = realpathSync(dirname(import.meta.dirname));
const target = process.argv[2];
if (target === undefined) throw new Error('usage: copy-product.ts TARGET');
const copied = new Set<string>();

/** The same place in the copy. */
function placeOf(path: string): string {
  return join(target ?? '', relative(root, path));
}

/** Copies a package once, then everything that it depends on. */
function copyPackage(folder: string): void {
  if (copied.has(folder)) return;
  copied.add(folder);
  const isOurs = !folder.includes('/node_modules/');
  cpSync(folder, placeOf(folder), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => (isOurs ? isProduct(path) : isRun(path)),
  });
  const manifest = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
  const { dependencies, optionalDependencies, peerDependencies } = manifest;
  for (const name of Object.keys({
    ...peerDependencies,
    ...dependencies,
    ...optionalDependencies,
  })) {
    const found = findDependency(folder, name);
    // Optional ones are installed for this platform only, peers if someone wants them.
    if (found !== undefined) copyLink(found);
    else if (dependencies?.[name] !== undefined) {
      throw new Error(`${folder} needs ${name}, which is not installed: npm run setup`);
    }
  }
}

function isProduct(path: string): boolean {
  const name = basename(path);
  return !(
    name.endsWith('.test.ts') || ['node_modules', '.build', 'testing', 'testdata'].includes(name)
  );
}

/** False for what only editors and debuggers read, and for the headers and manuals of Node itself. */
function isRun(path: string): boolean {
  if (/\.(d\.[cm]?ts|map)$/.test(path)) return false;
  return !/\/node-linux-\w+\/(include|share|lib|.*\.md)$/.test(path);
}

/** Where Node's resolution finds a dependency: in node_modules beside the package or above it. */
function findDependency(folder: string, name: string): string | undefined {
  for (let place = folder; place.startsWith(root); place = dirname(place)) {
    const candidate = join(place, 'node_modules', name);
    if (basename(place) !== 'node_modules' && existsSync(candidate)) return candidate;
  }
  return undefined;
}

/** Copies the link by which a dependency is found, and the package that it leads to. */
function copyLink(path: string): void {
  const place = placeOf(path);
  if (
    lstatSync(path).isSymbolicLink() &&
    lstatSync(place, { throwIfNoEntry: false }) === undefined
  ) {
    mkdirSync(dirname(place), { recursive: true });
    symlinkSync(readlinkSync(path), place);
  }
  copyPackage(realpathSync(path));
}

/** The Node that the image has without us, if it is new enough. */
function nodeOfImage(): string | undefined {
  for (const folder of (process.env['PATH'] ?? '').split(':')) {
    const path = join(folder, 'node');
    if (!existsSync(path)) continue;
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' });
    if (Number.parseInt(version.slice(1), 10) >= NODE_MAJOR_MIN) return path;
  }
  return undefined;
}

/** Gives the copy a Node under a fixed name: that of the image, or else the workspace's own. */
function addNode(): void {
  const found = nodeOfImage();
  const link = join(target ?? '', 'bin/node');
  if (found !== undefined) {
    symlinkSync(found, link);
    return;
  }
  const name = readdirSync(join(root, 'node_modules')).find((entry) =>
    entry.startsWith('node-linux-'),
  );
  if (name === undefined) throw new Error('no Node.js in node_modules: npm run setup');
  copyLink(join(root, 'node_modules', name));
  symlinkSync(`../node_modules/${name}/bin/node`, link);
}

for (const path of ['bin', 'LICENSE', 'package.json', 'docker/healthcheck.ts']) {
  cpSync(join(root, path), placeOf(join(root, path)), { recursive: true });
}
copyPackage(join(root, 'packages/cli'));
addNode();
