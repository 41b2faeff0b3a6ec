/** Routes of the admin API. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import {
  type ClusterMap,
  HoldfastError,
  type NodeNumber,
  type TokenRecord,
  type TokenRole,
} from '@holdfast/protocol';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import { parseDuration } from '../config.ts';
import { isSerial } from '../membership/certificates.ts';
import type { Registry } from '../membership/registry.ts';
import type { VolumeSnapshots } from '../membership/snapshots.ts';
import type { ClusterStatus } from '../membership/status.ts';
import type { VolumeLifecycle } from '../membership/volumes.ts';
import { addAttachments } from './attachment-routes.ts';
import { addProbes, type ProbeOperations } from './probes.ts';
import { addRepositories } from './repository-routes.ts';
import * as schemas from './schemas.ts';
import { addSnapshots } from './snapshot-routes.ts';

/** A server of the API before it listens. */
export type Api = FastifyInstance<
  Server,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  ZodTypeProvider
>;

/** What the routes call. */
export interface AdminOperations extends ProbeOperations {
  readonly registry: Registry;
  readonly volumes: VolumeLifecycle;
  readonly snapshots: VolumeSnapshots;
  readonly status: () => Promise<ClusterStatus>;
  /** Throws NO_QUORUM while there is none. */
  readonly map: () => ClusterMap;
  /** Makes a token; its text is shown once. `expiresAt` ISO 8601, '' never. */
  readonly createToken: (
    role: TokenRole,
    expiresAt: string,
  ) => Promise<{ token: string; record: TokenRecord }>;
}

const ADMINS = ['node', 'admin'] as const;
/** Adds them all. */
export async function addRoutes(api: Api, operations: AdminOperations): Promise<void> {
  addProbes(api, operations);
  addCluster(api, operations);
  addNodes(api, operations);
  addVolumes(api, operations);
  addAttachments(api, operations.registry);
  addSnapshots(api, operations.snapshots);
  addRepositories(api, operations.registry);
  addTokens(api, operations);
}

function addCluster(api: Api, operations: AdminOperations): void {
  const { status, map } = operations;
  const about = { tags: ['cluster'], querystring: schemas.NO_QUERY };
  const look = {
    ...about,
    summary: 'Health of the cluster, its peers and shards',
    response: schemas.answers(schemas.STATUS),
  };
  api.get('/v1/status', { schema: look }, () => status());
  const mapAsKnown = {
    ...about,
    summary: 'The cluster map as this peer knows it',
    response: schemas.answers(schemas.MAP),
  };
  api.get('/v1/map', { schema: mapAsKnown }, () => map());
  const hidden = { schema: { hide: true } };
  api.get('/v1/openapi.json', hidden, () => (api as unknown as { swagger(): object }).swagger());
}

function addNodes(api: Api, { map, registry }: AdminOperations): void {
  const tags = ['nodes'];
  const querystring = schemas.NO_QUERY;
  const list = {
    summary: 'All peers',
    tags,
    querystring,
    response: schemas.answers(schemas.NODES),
  };
  api.get('/v1/nodes', { schema: list }, () => ({ nodes: map().nodes }));
  const one = {
    summary: 'One peer',
    tags,
    querystring,
    params: schemas.NUMBER,
    response: schemas.answers(schemas.ONE_NODE),
  };
  api.get('/v1/nodes/:number', { schema: one }, (request) => {
    const { number } = request.params;
    const node = map().nodes.find((known) => known.number === number);
    if (node === undefined) throw new HoldfastError('NOT_FOUND', `there is no peer ${number}`);
    return { node };
  });
  const remove = {
    summary: 'Forget a peer for good and revoke its certificates',
    tags,
    params: schemas.NUMBER,
    querystring: schemas.FORCE,
    response: schemas.answers(schemas.NOTHING),
  };
  api.delete(
    '/v1/nodes/:number',
    { schema: remove, config: { roles: ADMINS } },
    async (request) => {
      const node = request.params.number as NodeNumber;
      await registry.execute({ op: 'remove-node', node, force: request.query.force });
      return {};
    },
  );
  const revoke = {
    summary: 'Revoke a certificate by its serial number',
    tags,
    querystring,
    params: schemas.SERIAL,
    response: schemas.answers(schemas.NOTHING),
  };
  api.delete(
    '/v1/certificates/:serial',
    { schema: revoke, config: { roles: ADMINS } },
    async (request) => {
      const serial = request.params.serial.toLowerCase();
      if (/^[0-9a-f]+$/.test(serial) && !isSerial(serial))
        throw new HoldfastError(
          'NOT_FOUND',
          `no certificate has the serial number ${serial}: they have 32 hexadecimal digits, the first from 4 to 7`,
        );
      await registry.execute({ op: 'revoke-certificate', serial });
      return {};
    },
  );
}

function addVolumes(api: Api, { registry, volumes }: AdminOperations): void {
  const tags = ['volumes'];
  const querystring = schemas.NO_QUERY;
  const params = schemas.NAME;
  const list = {
    summary: 'All volumes',
    tags,
    querystring,
    response: schemas.answers(schemas.VOLUMES),
  };
  api.get('/v1/volumes', { schema: list }, () => registry.view({ view: 'volumes' }));
  const response = schemas.answers(schemas.ONE_VOLUME);
  const one = { summary: 'One volume', tags, querystring, params, response };
  api.get('/v1/volumes/:name', { schema: one }, async (request) => {
    const { name } = request.params;
    const { volume } = await registry.view({ view: 'volume', name });
    if (volume === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${name}'`);
    return { volume };
  });
  const create = {
    summary: 'Make a volume; success when it exists with the same policy and origin',
    tags,
    querystring,
    body: schemas.NEW_VOLUME,
    response,
  };
  api.post('/v1/volumes', { schema: create }, async (request) => {
    const { name, policy, ...beginning } = request.body;
    return { volume: await volumes.create(name, defined(policy), beginning) };
  });
  const update = {
    summary: "Change a volume's policy",
    tags,
    querystring,
    params,
    body: schemas.VOLUME_CHANGE,
    response,
  };
  api.patch(
    '/v1/volumes/:name',
    { schema: update, config: { roles: ADMINS } },
    async (request) => ({
      volume: await volumes.update(request.params.name, defined(request.body.policy)),
    }),
  );
  const remove = {
    summary: 'Remove a volume',
    tags,
    params,
    querystring: schemas.FORCE,
    response: schemas.answers(schemas.NOTHING),
  };
  api.delete('/v1/volumes/:name', { schema: remove }, async (request) => {
    await volumes.remove(request.params.name, request.query.force);
    return {};
  });
}

function addTokens(api: Api, { registry, createToken }: AdminOperations): void {
  const tags = ['tokens'];
  const config = { roles: ADMINS };
  const querystring = schemas.NO_QUERY;
  const list = {
    summary: 'All tokens, without their secrets',
    tags,
    querystring,
    response: schemas.answers(schemas.TOKENS),
  };
  api.get('/v1/tokens', { schema: list, config }, async () => {
    const { tokens } = await registry.view({ view: 'tokens' });
    return { tokens: tokens.map(({ secretDigest: _, ...shown }) => shown) };
  });
  const create = {
    summary: 'Make a join token; its text is shown once',
    tags,
    querystring,
    body: schemas.NEW_TOKEN,
    response: schemas.answers(schemas.MADE_TOKEN),
  };
  api.post('/v1/tokens', { schema: create, config }, async (request) => {
    const { role, expires } = request.body;
    const { token, record } = await createToken(role, expiryOf(expires));
    return { token, id: record.id, role: record.role, expiresAt: record.expiresAt };
  });
  const revoke = {
    summary: 'Make a token worthless; hosts that joined with it stay',
    tags,
    querystring,
    params: schemas.ID,
    response: schemas.answers(schemas.NOTHING),
  };
  api.delete('/v1/tokens/:id', { schema: revoke, config }, async (request) => {
    await registry.execute({ op: 'revoke-token', id: request.params.id });
    return {};
  });
}

function expiryOf(expires: string | undefined): string {
  if (expires === undefined || expires === '' || expires === 'never') return '';
  const durationMs = parseDuration(expires);
  if (durationMs === undefined || durationMs === 0) {
    throw new HoldfastError(
      'BAD_REQUEST',
      `'${expires}' is no duration; write 30m, 12h, 7d or never`,
    );
  }
  return new Date(Date.now() + durationMs).toISOString();
}

/** Without keys whose value is undefined: absent and undefined are not the same to the registry. */
function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as never;
}
