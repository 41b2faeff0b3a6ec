import { globSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { PAGES } from './pages.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

describe('the reference', () => {
  it.each(Object.keys(PAGES))(
    'docs/%s says what the code does; else run pnpm docs:reference',
    async (file) => {
      expect(readFileSync(`${ROOT}docs/${file}`, 'utf8')).toBe(await PAGES[file]?.());
    },
  );

  it('has every metric that the sources name', async () => {
    const page = (await PAGES['metrics.md']?.()) ?? '';
    const sources = globSync('packages/*/src/**/*.ts', { cwd: ROOT }).filter(
      (path) => !path.endsWith('.test.ts'),
    );
    const names = sources.flatMap((path) =>
      [...readFileSync(ROOT + path, 'utf8').matchAll(/'(holdfast_[a-z_]+)'/g)].map(
        ([, name]) => name,
      ),
    );
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
  });

  it('has every metric and every reason that the guide for operators names', async () => {
    const guide = readFileSync(`${ROOT}docs/operating.md`, 'utf8');
    const metrics = [...guide.matchAll(/holdfast_[a-z_]+/g)].map(([name]) => name);
    expect(metrics.length).toBeGreaterThan(5);
    const page = (await PAGES['metrics.md']?.()) ?? '';
    expect(metrics.filter((name) => !page.includes(`\`${name}\``))).toEqual([]);
    const status = readFileSync(`${ROOT}packages/node/src/membership/status.ts`, 'utf8');
    const health = status.slice(0, status.indexOf('export function notReady'));
    const reasons = [...health.matchAll(/code: '([a-z.]+)'/g)].map(([, code]) => code);
    expect(reasons.length).toBeGreaterThan(4);
    expect(reasons.filter((code) => !guide.includes(`\`${code}\``))).toEqual([]);
  });
});
