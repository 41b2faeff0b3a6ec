/** Routes of the admin API for the repositories of backups that the cluster knows by name. */
import { HoldfastError, type RepositoryRecord } from '@holdfast/protocol';
import { Schedule } from '@holdfast/schedule';
import { z } from 'zod';
import type { Registry } from '../membership/registry.ts';
import type { Api } from './routes.ts';
import { answers, JOB_RUNS, LAST_VERIFICATION, NAME, NO_QUERY, NOTHING } from './schemas.ts';

const COUNT = z.int().min(0);
const RATE = z.int().min(1).optional().describe('bytes per second of one host');
const FIELDS = {
  name: z.string(),
  place: z
    .string()
    .describe(
      'an absolute directory, or s3:https://HOST/BUCKET/PREFIX, or azure:CONTAINER:/PREFIX',
    ),
  id: z.string().describe('of the repository itself, 64 hexadecimal digits'),
  hosts: z.array(z.string()).readonly().describe('peers that may work with it; empty: all'),
  region: z.string().optional(),
  ca: z.string().optional().describe("PEM of the authority of the store's certificate"),
  pathStyle: z.boolean().optional().describe('the bucket stands in the path, not the host name'),
  endpoint: z.string().optional().describe('of the blobs of an account of Azure'),
  sendBytesPerSecond: RATE,
  fetchBytesPerSecond: RATE,
};
const REPOSITORY = z
  .object({
    ...FIELDS,
    pruneSchedule: z.string().optional().describe('five fields of cron in UTC'),
    verifySchedule: z.string().optional(),
    verifyParts: COUNT.describe('each verification reads one of so many parts; 0: no data'),
    pruneRuns: JOB_RUNS.optional(),
    verifyRuns: JOB_RUNS.optional(),
    lastVerification: LAST_VERIFICATION.optional(),
    credentialNames: z
      .array(z.string())
      .readonly()
      .describe('which credentials are kept with it; none: each host has its own'),
    createdAt: z.string().describe('ISO 8601'),
  })
  .meta({ id: 'Repository' });
const NEW = z.strictObject({
  ...FIELDS,
  password: z.string().describe('never answered again'),
  credentials: z
    .record(z.string(), z.string())
    .default({})
    .describe('variables such as AWS_SECRET_ACCESS_KEY; never answered again'),
  replace: z.boolean().default(false).describe('in place of one that is known under the name'),
});
const UPKEEP = z.strictObject({
  pruneSchedule: z.string().optional().describe("when it is pruned; '' takes it away"),
  verifySchedule: z.string().optional().describe("when it is verified; '' takes it away"),
  verifyParts: COUNT.optional().describe('each verification reads one of so many parts in turn'),
});
const KIND = z.object({ name: z.string(), kind: z.enum(['prune', 'verify']) });
const ONE = z.object({ repository: REPOSITORY });
const ADMINS = { roles: ['node', 'admin'] } as const;

/** Adds the routes under /v1/repositories. */
export function addRepositories(api: Api, registry: Registry): void {
  const about = { tags: ['repositories'], querystring: NO_QUERY };
  const list = {
    ...about,
    summary: 'The repositories of backups that are known by name, without what opens them',
    response: answers(z.object({ repositories: z.array(REPOSITORY).readonly() })),
  };
  api.get('/v1/repositories', { schema: list }, () => registry.view({ view: 'repositories' }));
  const one = { ...about, summary: 'One repository', params: NAME, response: answers(ONE) };
  api.get('/v1/repositories/:name', { schema: one }, async ({ params: { name } }) => {
    const { repositories } = await registry.view({ view: 'repositories' });
    const repository = repositories.find((known) => known.name === name);
    if (repository !== undefined) return { repository };
    throw new HoldfastError('NOT_FOUND', `the cluster knows no repository '${name}'`);
  });
  const put = {
    ...about,
    summary: 'Have the cluster know a repository by name; nobody looks whether it can be opened',
    body: NEW,
    response: answers(ONE),
  };
  api.post('/v1/repositories', { schema: put, config: ADMINS }, async ({ body }) => {
    const { password, credentials, replace, ...given } = body;
    const { repository } = await registry.execute({
      op: 'put-repository',
      repository: given as Omit<RepositoryRecord, 'createdAt' | 'credentialNames'>,
      secrets: { password, credentials },
      replace,
    });
    if (repository !== undefined) return { repository };
    throw new HoldfastError('INTERNAL', `the registry answered without repository '${body.name}'`);
  });
  addUpkeep(api, registry);
  const remove = {
    ...about,
    summary: 'Forget a repository and what opens it; what is in it stays',
    params: NAME,
    response: answers(NOTHING),
  };
  api.delete(
    '/v1/repositories/:name',
    { schema: remove, config: ADMINS },
    async ({ params: { name } }) => {
      await registry.execute({ op: 'remove-repository', name });
      return {};
    },
  );
}

function addUpkeep(api: Api, registry: Registry): void {
  const about = { tags: ['repositories'], querystring: NO_QUERY };
  const change = {
    ...about,
    summary: 'Have a repository pruned and verified by schedule',
    params: NAME,
    body: UPKEEP,
    response: answers(ONE),
  };
  api.patch(
    '/v1/repositories/:name',
    { schema: change, config: ADMINS },
    async ({ params: { name }, body }) => {
      const { verifyParts, ...schedules } = body;
      const texts = Object.entries(schedules).map(([key, text]) => [key, parsed(text)] as const);
      const upkeep = Object.fromEntries(
        [...texts, ['verifyParts', verifyParts] as const].filter(
          ([, value]) => value !== undefined,
        ),
      );
      const { repository } = await registry.execute({ op: 'set-upkeep', name, upkeep });
      if (repository !== undefined) return { repository };
      throw new HoldfastError('INTERNAL', `the registry answered without repository '${name}'`);
    },
  );
  const run = {
    ...about,
    summary: 'Ask for a run of its schedule at once',
    params: KIND,
    response: answers(NOTHING),
  };
  api.post(
    '/v1/repositories/:name/:kind',
    { schema: run, config: ADMINS },
    async ({ params: { name, kind } }) => {
      await registry.execute({ op: 'ask-job', job: { kind, repository: name } });
      return {};
    },
  );
  const backUp = {
    summary: "Ask for a run of a volume's backup schedule at once",
    tags: ['volumes'],
    querystring: NO_QUERY,
    params: NAME,
    response: answers(NOTHING),
  };
  api.post(
    '/v1/volumes/:name/backup',
    { schema: backUp, config: ADMINS },
    async ({ params: { name } }) => {
      const { volume } = await registry.view({ view: 'volume', name });
      if (volume === undefined)
        throw new HoldfastError('NOT_FOUND', `there is no volume '${name}'`);
      await registry.execute({ op: 'ask-job', job: { kind: 'backup', volume: volume.number } });
      return {};
    },
  );
}

function parsed(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? text : Schedule.parse(text).text;
}
