/** Routes of the admin API for the snapshots of volumes. */
import { BACKUP_SNAPSHOTS, RECEIVE_SNAPSHOTS, type Snapshot } from '@holdfast/protocol';
import { scheduledTime } from '@holdfast/schedule';
import { z } from 'zod';
import type { VolumeSnapshots } from '../membership/snapshots.ts';
import type { Api } from './routes.ts';
import { answers, NAME, NO_QUERY } from './schemas.ts';

const COUNT = z.int().min(0);
const FIELDS = {
  name: z.string(),
  generation: z.int().describe('its number in the volume, growing, never used again'),
  createdAt: z.string().describe('ISO 8601'),
  madeBy: z
    .enum(['user', 'schedule', 'backup', 'receive'])
    .describe(
      "a schedule's go by its rule of what to keep, a backup's with the next good one, one of a receive with its end",
    ),
  clones: COUNT.describe('volumes that were cloned from it and exist'),
  usedBytes: COUNT.describe('what the volume used then'),
  usedInodes: COUNT,
  origin: z
    .string()
    .optional()
    .describe('of one that was received: cluster, volume and generation of where it was taken'),
};
const SNAPSHOT = z.object(FIELDS).meta({ id: 'Snapshot' });
const MEASURED = z
  .object({
    ...FIELDS,
    chunkBytes: COUNT.describe('of chunks that only it shows: what removing it gives back, a copy'),
    inlineBytes: COUNT.describe('in the metadata, likewise'),
    isSettled: z
      .boolean()
      .describe('false: what came free lately is not gone through yet, and it may be more'),
  })
  .meta({ id: 'MeasuredSnapshot' });
const ONE = z.object({ snapshot: SNAPSHOT });
const PATH = z.object({ name: z.string(), snapshot: z.string() });
const NEW = z.strictObject({
  name: z.string().optional().describe('its time in UTC when absent'),
});

const ROLLBACK = z.strictObject({
  force: z
    .boolean()
    .default(false)
    .describe('also while hosts have the volume attached: files that are open then are void'),
});

function makerOf(name: string): z.infer<typeof SNAPSHOT>['madeBy'] {
  if (name.startsWith(BACKUP_SNAPSHOTS)) return 'backup';
  if (name.startsWith(RECEIVE_SNAPSHOTS)) return 'receive';
  return scheduledTime(name) === undefined ? 'user' : 'schedule';
}

/** What the API shows of a snapshot. */
function shown(snapshot: Snapshot): z.infer<typeof SNAPSHOT> {
  const { timeNs, ...facts } = snapshot;
  return {
    ...facts,
    createdAt: new Date(Number(timeNs / 1_000_000n)).toISOString(),
    madeBy: makerOf(facts.name),
  };
}

/** Adds the routes under /v1/volumes/:name/snapshots. */
export function addSnapshots(api: Api, snapshots: VolumeSnapshots): void {
  const about = { tags: ['snapshots'], querystring: NO_QUERY };
  const all = '/v1/volumes/:name/snapshots';
  const list = {
    ...about,
    summary: 'The snapshots of a volume, oldest first',
    params: NAME,
    response: answers(z.object({ snapshots: z.array(SNAPSHOT).readonly() })),
  };
  api.get(all, { schema: list }, async ({ params }) => ({
    snapshots: (await snapshots.list(params.name)).map(shown),
  }));
  const create = {
    ...about,
    summary: 'Snapshot a volume: all that was acknowledged before is in it',
    params: NAME,
    body: NEW,
    response: answers(ONE),
  };
  api.post(all, { schema: create }, async ({ params, body }) => ({
    snapshot: shown(await snapshots.create(params.name, body.name)),
  }));
  const measure = {
    ...about,
    summary: 'One snapshot, with what removing it would give back',
    params: PATH,
    response: answers(z.object({ snapshot: MEASURED })),
  };
  api.get(`${all}/:snapshot`, { schema: measure }, async ({ params }) => {
    const { chunkBytes, inlineBytes, isSettled, ...rest } = await snapshots.measure(
      params.name,
      params.snapshot,
    );
    return { snapshot: { ...shown(rest), chunkBytes, inlineBytes, isSettled } };
  });
  const rollback = {
    ...about,
    summary: 'Show the volume as the snapshot again; answers the snapshot that keeps what it was',
    params: PATH,
    body: ROLLBACK,
    response: answers(ONE),
  };
  api.post(`${all}/:snapshot/rollback`, { schema: rollback }, async ({ params, body }) => {
    const { force } = body;
    return { snapshot: shown(await snapshots.rollBack(params.name, params.snapshot, { force })) };
  });
  const remove = {
    ...about,
    summary: 'Remove a snapshot; while it has clones, its space stays with them',
    params: PATH,
    response: answers(ONE),
  };
  api.delete(`${all}/:snapshot`, { schema: remove }, async ({ params }) => {
    return { snapshot: shown(await snapshots.remove(params.name, params.snapshot)) };
  });
}
