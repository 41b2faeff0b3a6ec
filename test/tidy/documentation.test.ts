import { describe, expect, it } from 'vitest';
import { filesBelow, type TreeFile } from './tree.ts';

/** The share of exported names that must say what they promise. */
const DOCUMENTED_MIN = 0.95;

const DECLARATION =
  /^export (?:declare )?(?:abstract )?(?:async )?(?:function\*?|class|const|let|interface|type) (\w+)/;

interface ExportedName {
  readonly where: string;
  readonly isDocumented: boolean;
}

/**
 * Every name a module declares and exports. An overload shares the docstring of the first; so does
 * a constant on the line below another one.
 */
function exportedNames({ path, text }: TreeFile): ExportedName[] {
  const lines = text.split('\n');
  const first = new Map<string, ExportedName>();
  for (const [index, line] of lines.entries()) {
    const name = DECLARATION.exec(line)?.[1];
    if (name === undefined || first.has(name)) continue;
    const above = lines[index - 1] ?? '';
    const neighbour = /^export const.*;$/.test(above) ? DECLARATION.exec(above)?.[1] : undefined;
    const shared = neighbour === undefined ? undefined : first.get(neighbour);
    first.set(name, {
      where: `${path}:${index + 1} ${name}`,
      isDocumented: shared?.isDocumented ?? above.trimEnd().endsWith('*/'),
    });
  }
  return [...first.values()];
}

describe('documentation', () => {
  it('stands at nearly every exported name of the packages', () => {
    const names = filesBelow(['packages'], ['.ts'])
      .filter(({ path }) => !path.endsWith('.test.ts'))
      .flatMap(exportedNames);
    const missing = names.filter(({ isDocumented }) => !isDocumented);
    const share = names.length === 0 ? 1 : 1 - missing.length / names.length;
    const list = missing.map(({ where }) => where).join('\n');
    expect(share, `without a docstring:\n${list}\n`).toBeGreaterThanOrEqual(DOCUMENTED_MIN);
  });
});
