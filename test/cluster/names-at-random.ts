import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { seeded } from '../posix/support/random-use.ts';

const NAMES = ['a', 'b', 'c', 'd'];
/** Directories of two levels and what may lie in them, so that names meet often. */
const PLACES = [
  ...NAMES,
  ...NAMES.flatMap((one) => NAMES.map((two) => `${one}/${two}`)),
  ...NAMES.map((name) => `a/b/${name}`),
];

type Step = (root: string) => unknown;
type Random = (below: number) => number;

/** One random call on names, to be made below any root. */
function stepFrom(random: Random): [string, Step] {
  const place = (): string => PLACES[random(PLACES.length)] ?? 'a';
  const [one, two] = [place(), place()];
  const mode = 0o600 + random(64);
  const at =
    (act: (path: string) => unknown): Step =>
    (root) =>
      act(join(root, one));
  const both =
    (act: (from: string, to: string) => unknown): Step =>
    (root) =>
      act(join(root, one), join(root, two));
  const steps: [string, Step][] = [
    [`mkdir ${one}`, at((path) => fs.mkdirSync(path))],
    [`mkdir ${two} again`, (root) => fs.mkdirSync(join(root, two))],
    [`create ${one}`, at((path) => fs.closeSync(fs.openSync(path, 'wx')))],
    [`write ${one}`, at((path) => fs.writeFileSync(path, `${one} and ${two}`))],
    [`append ${one}`, at((path) => fs.appendFileSync(path, two))],
    [`truncate ${one}`, at((path) => fs.truncateSync(path, two.length))],
    [`chmod ${one}`, at((path) => fs.chmodSync(path, mode))],
    [`unlink ${one}`, at((path) => fs.unlinkSync(path))],
    [`rmdir ${one}`, at((path) => fs.rmdirSync(path))],
    [`rename ${one} ${two}`, both((from, to) => fs.renameSync(from, to))],
    [`link ${one} ${two}`, both((from, to) => fs.linkSync(from, to))],
    [`symlink ${one}`, at((path) => fs.symlinkSync(two, path))],
    [`read ${one}`, at((path) => fs.readFileSync(path, 'utf8'))],
    [`list ${one}`, at((path) => fs.readdirSync(path).sort())],
    [`stat ${one}`, at((path) => seen(path))],
    [`stat ${two} first`, (root) => seen(join(root, two))],
  ];
  return steps[random(steps.length)] as [string, Step];
}

/** What stat(2) tells of a path that is the same on every file system. */
function seen(path: string): object {
  const { mode, nlink, size } = fs.lstatSync(path);
  const isDirectory = (mode & 0o170000) === 0o040000;
  return { mode, nlink, ...(isDirectory ? {} : { size }) };
}

function outcome(step: Step, root: string): unknown {
  try {
    return step(root);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code;
  }
}

/**
 * Random calls on names, each on one of the `roots` (the same directory on several hosts) and on a
 * `mirror` of an ordinary file system; both must answer alike, in the end for every name.
 */
export function nameAtRandom(
  roots: readonly string[],
  mirror: string,
  { rounds, seed }: { readonly rounds: number; readonly seed: number },
): void {
  const random = seeded(seed);
  for (let round = 0; round < rounds; round += 1) {
    const root = roots[random(roots.length)] ?? '';
    const [title, step] = stepFrom(random);
    const told = `round ${round}: ${title}`;
    assert.deepEqual(outcome(step, root), outcome(step, mirror), told);
  }
  for (const root of roots) {
    for (const place of PLACES) {
      const look: Step = (at) => seen(join(at, place));
      assert.deepEqual(outcome(look, root), outcome(look, mirror), `in the end: ${place}`);
    }
  }
}
