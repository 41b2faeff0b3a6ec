import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from './tree.ts';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

const text = readFileSync(join(ROOT, 'packaging/prometheus/holdfast.rules.yaml'), 'utf8');
const { groups } = parse(text) as { groups: { name: string; rules: Rule[] }[] };
const rules = groups.flatMap((group) => group.rules);
/** Name, type and labels of each metric, from the reference that is made from the code. */
const metrics = new Map(
  readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8')
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
    .filter(([, name]) => name?.startsWith('`holdfast_'))
    .map(([, name = '', type = '', labels = '']) => [
      name.replaceAll('`', ''),
      { type, labels: labels.match(/[a-z]+/g) ?? [] },
    ]),
);

describe('the alert rules that are shipped', () => {
  it('name only metrics that there are, with labels that they have', () => {
    expect(metrics.size).toBeGreaterThan(40);
    for (const { alert, expr } of rules) {
      const names = expr.match(/holdfast_\w+/g) ?? [];
      expect(names, alert).not.toEqual([]);
      const labels = names.flatMap((name) => {
        const metric = metrics.get(name) ?? metrics.get(name.replace(/_bucket$/, ''));
        expect(metric, `${alert} names ${name}`).toBeDefined();
        return metric?.labels ?? [];
      });
      const named = /(?:by \(([a-z, ]+)\))|\{([a-z]+)=/g;
      for (const [, by, of] of expr.matchAll(named))
        for (const label of (by ?? of ?? '').split(', '))
          expect(['instance', 'le', ...labels], `${alert}: ${label}`).toContain(label);
    }
  });

  it('say what is wrong and what to do, once each', () => {
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { alert, labels, annotations, for: time = '1m' } of rules) {
      expect(alert).toMatch(/^Holdfast[A-Z]/);
      expect(['critical', 'warning', 'info']).toContain(labels.severity);
      expect(time).toMatch(/^\d+[smh]$/);
      expect(annotations.summary.length, alert).toBeGreaterThan(10);
      expect(annotations.description.length, alert).toBeGreaterThan(10);
    }
  });
});
