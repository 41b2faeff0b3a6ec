import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { filesBelow, ROOT, type TreeFile } from './tree.ts';

const FOLDERS = ['packages', 'test', 'scripts', 'docker', 'docs', 'bin'].filter((folder) =>
  existsSync(join(ROOT, folder)),
);
const sources = filesBelow(['packages', 'test', 'scripts'], ['.ts', '.mjs']).filter(
  ({ path }) => !path.startsWith('test/tidy/'),
);
const texts = filesBelow(FOLDERS, [
  '.ts',
  '.mjs',
  '.md',
  '.yaml',
  '.json',
  '.sh',
  'Dockerfile',
  'bin/holdfast',
]);

/** Lines that match, as "path:line: text". */
function linesWith(files: readonly TreeFile[], pattern: RegExp): string[] {
  return files.flatMap(({ path, text }) =>
    text
      .split('\n')
      .map((line, index) => ({ line, where: `${path}:${index + 1}` }))
      .filter(({ line }) => pattern.test(line))
      .map(({ line, where }) => `${where}: ${line.trim()}`),
  );
}

describe('words', () => {
  it('of file names say the idea, not that there was none', () => {
    const empty = new Set(['util', 'utils', 'common', 'helper', 'helpers', 'manager', 'misc']);
    const wrong = sources
      .map(({ path }) => path)
      .filter((path) => path.split(/[/.-]/).some((word) => empty.has(word)));
    expect(wrong).toEqual([]);
  });

  it('leave no unfinished business without the number of its issue', () => {
    const unfinished = /\b(?:TODO|FIXME|XXX|HACK)\b(?!\s*\(?#\d+)/;
    expect(linesWith(sources, unfinished)).toEqual([]);
  });

  it('name no directory of somebody’s own machine', () => {
    const others = texts.filter(({ path }) => !path.startsWith('test/tidy/'));
    const personal = /(?<![\w$}.)])\/(?:home|Users|root|work)\/\w/;
    expect(linesWith(others, personal)).toEqual([]);
  });

  it('give the reason wherever a check is turned off', () => {
    const silenced = /(?:oxlint|eslint)-disable/;
    const reasoned = /(?:oxlint|eslint)-disable.* -- \S.{9,}/;
    const withoutReason = linesWith(sources, silenced).filter((line) => !reasoned.test(line));
    expect(withoutReason, 'oxlint-disable RULE -- reason').toEqual([]);
    expect(linesWith(sources, /@ts-(?:ignore|nocheck)/)).toEqual([]);
    expect(linesWith(sources, /@ts-expect-error(?!:? \S.{9,})/)).toEqual([]);
  });
});
