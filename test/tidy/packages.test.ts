import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesBelow, importsOf, packageNames, ROOT, resolveFrom } from './tree.ts';

/** The one direction: what each package may import. Nothing below reaches back up. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  protocol: [],
  wire: ['protocol'],
  chunks: ['protocol'],
  raft: ['protocol'],
  metadata: ['protocol'],
  placement: ['protocol'],
  schedule: ['protocol'],
  client: ['chunks', 'metadata', 'placement', 'protocol', 'wire'],
  node: ['chunks', 'metadata', 'placement', 'protocol', 'raft', 'schedule', 'wire'],
  'fuse-mount': ['client', 'protocol'],
  tree: ['protocol'],
  archive: ['protocol', 'tree'],
  backup: ['protocol', 'schedule', 'tree'],
  transfer: ['protocol', 'tree'],
  cli: [
    'archive',
    'backup',
    'client',
    'fuse-mount',
    'node',
    'protocol',
    'schedule',
    'transfer',
    'tree',
  ],
};

/** A process of its own that happens to live in the node's package: it is a user of volumes. */
const VOLUME_DRIVER = { folder: 'packages/node/src/volume-driver/', mayAlsoImport: 'client' };

function mayImport(path: string, to: string): boolean {
  const from = path.split('/')[1] ?? '';
  if (path.startsWith(VOLUME_DRIVER.folder) && to === VOLUME_DRIVER.mayAlsoImport) return true;
  return MAY_IMPORT[from]?.includes(to) ?? false;
}

const sources = filesBelow(['packages'], ['.ts']);

interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8')) as Manifest;
}

/** The packages that hold a cycle of run-time imports, as paths that come back to their start. */
function cyclesIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    const seenAt = trail.indexOf(path);
    if (seenAt >= 0) {
      cycles.push([...trail.slice(seenAt), path].join(' -> '));
      return;
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}

describe('packages', () => {
  it('are those whose direction is written down here', () => {
    expect(packageNames().sort()).toEqual(Object.keys(MAY_IMPORT).sort());
  });

  it('import one another in one direction only', () => {
    const wrong = sources.flatMap((file) =>
      importsOf(file)
        .filter(({ specifier }) => specifier.startsWith('@holdfast/'))
        .map(({ specifier }) => specifier.split('/')[1] ?? '')
        .filter((to) => !mayImport(file.path, to))
        .map((to) => `${file.path} imports @holdfast/${to}`),
    );
    expect(wrong).toEqual([]);
  });

  it('name each other in package.json in that direction only', () => {
    const wrong = Object.entries(MAY_IMPORT).flatMap(([from, allowed]) => {
      const { dependencies, devDependencies } = manifestOf(join('packages', from));
      return Object.keys({ ...dependencies, ...devDependencies })
        .filter((name) => name.startsWith('@holdfast/'))
        .map((name) => name.slice('@holdfast/'.length))
        .filter((name) => !allowed.includes(name))
        .filter((name) => from !== 'node' || name !== VOLUME_DRIVER.mayAlsoImport)
        .map((name) => `packages/${from}/package.json depends on @holdfast/${name}`);
    });
    expect(wrong).toEqual([]);
  });

  it('reach each other by name, never by a path', () => {
    const wrong = sources.flatMap((file) => {
      const home = file.path.split('/').slice(0, 3).join('/');
      return importsOf(file)
        .filter(({ specifier }) => specifier.startsWith('.'))
        .filter(({ specifier }) => !resolveFrom(file.path, specifier).startsWith(`${home}/`))
        .map(({ specifier }) => `${file.path} imports ${specifier}`);
    });
    expect(wrong).toEqual([]);
  });

  it('hold no circle of modules that load each other', () => {
    const graph = new Map(
      sources.map((file) => [
        file.path,
        importsOf(file)
          .filter(({ specifier, isTypeOnly }) => specifier.startsWith('.') && !isTypeOnly)
          .map(({ specifier }) => resolveFrom(file.path, specifier)),
      ]),
    );
    expect(cyclesIn(graph)).toEqual([]);
  });

  it('keep the bytes of the FUSE protocol apart from the rest of the mount', () => {
    const kernel = 'packages/fuse-mount/src/kernel/';
    const wrong = sources
      .filter(({ path }) => path.startsWith(kernel) && !path.endsWith('.test.ts'))
      .flatMap((file) =>
        importsOf(file)
          .filter(({ specifier }) => specifier.startsWith('.'))
          .filter(({ specifier }) => !resolveFrom(file.path, specifier).startsWith(kernel))
          .map(({ specifier }) => `${file.path} imports ${specifier}`),
      );
    expect(wrong).toEqual([]);
  });

  it('have one index.ts, which lists public names and does nothing', () => {
    const indexes = sources.filter(({ path }) => path.endsWith('/index.ts'));
    const inner = indexes.map(({ path }) => path).filter((path) => path.split('/').length !== 4);
    expect(inner, 'an index.ts inside a package').toEqual([]);
    const statement = /export (?:type )?(?:\*|\{[^}]*\}) from '[^']+';|export \{\};/g;
    const comment = /\/\*[\s\S]*?\*\/|\/\/.*/g;
    const busy = indexes.filter(
      ({ text }) => text.replace(comment, '').replace(statement, '').trim() !== '',
    );
    expect(busy.map(({ path }) => path)).toEqual([]);
  });

  it('pin every dependency to one version', () => {
    const folders = ['.', 'test', ...packageNames().map((name) => join('packages', name))];
    const loose = folders.flatMap((folder) => {
      const { dependencies, devDependencies } = manifestOf(folder);
      return Object.entries({ ...dependencies, ...devDependencies })
        .filter(([, version]) => !/^(?:\d+\.\d+\.\d+\S*|catalog:|workspace:\*)$/.test(version))
        .map(([name, version]) => `${folder}/package.json: ${name} ${version}`);
    });
    expect(loose).toEqual([]);
  });
});
