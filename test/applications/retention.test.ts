import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DirectoryStore, forget, initRepository, type RetentionPolicy } from '@holdfast/backup';
import { afterAll, beforeAll, expect, it } from 'vitest';

const PASSWORD = 'pass word';
const run = promisify(execFile);

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'holdfast-retention-'));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

/** restic's options of a policy. */
function optionsOf(policy: RetentionPolicy): string[] {
  const dashed = (name: string): string => name.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
  const { keepTags = [], ...rules } = policy;
  return [
    ...Object.entries(rules).flatMap(([name, value]) => [`--${dashed(name)}`, String(value)]),
    ...keepTags.flatMap((tags) => ['--keep-tag', tags.join(',')]),
  ];
}

const POLICIES: readonly RetentionPolicy[] = [
  { keepLast: 5 },
  { keepHourly: 9, keepDaily: 6 },
  { keepDaily: 7, keepWeekly: 5, keepMonthly: 12 },
  { keepWeekly: 3, keepYearly: 9 },
  { keepWithin: '1m2d3h' },
  { keepWithin: '1y', keepTags: [['a', 'b'], ['c']] },
  { keepWithinHourly: '2d', keepWithinDaily: '31d', keepWithinWeekly: '2m' },
  { keepWithinMonthly: '1y1m', keepWithinYearly: '9y', keepLast: 1 },
];

it('keeps of any backups what restic keeps, and of too few the oldest as well', async () => {
  const store = new DirectoryStore(root);
  const repository = await initRepository({ store, password: PASSWORD });
  const newest = Date.parse('2024-02-29T12:34:56Z');
  // Several an hour, a day, a week, a month, a year: each rule has something to leave out.
  const ages = [25, 5 * 60, 29 * 60, 5 * 24 * 60, 41 * 24 * 60].flatMap((minutes) =>
    Array.from({ length: 12 }, (_, i) => (i + 1) * minutes * 60_000 + minutes),
  );
  const times = ages.map((age) => new Date(newest - age));
  for (const [i, time] of times.entries())
    await repository.save('snapshots', {
      time: time.toISOString(),
      tree: 'a'.repeat(64),
      paths: ['/volumes/data'],
      hostname: 'host',
      username: 'root',
      tags: [i % 5 === 0 ? 'a' : 'd', i % 10 === 0 ? 'b' : 'e', ...(i === 51 ? ['c'] : [])],
    });
  const oldest = new Date(Math.min(...times.map(Number))).toISOString();
  for (const policy of POLICIES) {
    const args = ['forget', '--dry-run', '--json', ...optionsOf(policy)];
    const env = { PATH: process.env['PATH'], RESTIC_PASSWORD: PASSWORD, TZ: 'UTC' };
    const { stdout } = await run('restic', ['--no-cache', '--repo', root, ...args], { env });
    const [group] = JSON.parse(stdout.split('\n', 1)[0] ?? '') as { keep: { id: string }[] }[];
    const { keep } = group ?? { keep: [] };
    const ours = await forget(repository, { policy, dryRun: true });
    // restic keeps it since 0.16, Debian's is older.
    const isNew = ({ timeNs, id }: (typeof ours.kept)[number]): boolean =>
      new Date(Number(timeNs / 1_000_000n)).toISOString() !== oldest ||
      keep.some((theirs) => theirs.id === id);
    const kept = ours.kept.filter(isNew).map(({ id }) => id);
    expect([policy, kept.toSorted()]).toEqual([policy, keep.map(({ id }) => id).toSorted()]);
    expect(kept.length).toBeLessThan(times.length);
  }
});
