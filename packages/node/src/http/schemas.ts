/** What the admin API takes and answers: fastify checks, serializes and documents by these and nothing else. */
import { z } from 'zod';

const COUNT = z.int().min(0);

/** Of every answer that is no success. */
export const FAILURE = z
  .object({
    code: z.string().describe('stable; see docs/errors.md'),
    message: z.string().describe('for people; may change'),
    detail: z.record(z.string(), z.unknown()).describe('facts for programs'),
  })
  .meta({ id: 'Failure' });

/** The responses of a route whose success has this body. */
export function answers<T extends z.ZodType>(
  body: T,
): { readonly 200: T; readonly '4xx': typeof FAILURE; readonly '5xx': typeof FAILURE } {
  return { 200: body, '4xx': FAILURE, '5xx': FAILURE };
}

/** Of a success that has nothing to say. */
export const NOTHING = z.strictObject({}).meta({ id: 'Nothing' });
/** Of a route without query. */
export const NO_QUERY = z.strictObject({});

/** Path of a volume. */
export const NAME = z.object({ name: z.string() });
/** Path of a host's use of a volume. */
export const ATTACHMENT = z.object({ name: z.string(), host: z.string() });
/** Path of a peer. */
export const NUMBER = z.object({ number: z.coerce.number().int().min(1) });
/** Path of a certificate; hexadecimal. */
export const SERIAL = z.object({ serial: z.string() });
/** Path of a token. */
export const ID = z.object({ id: z.string() });
/** Query of what can be forced. */
export const FORCE = z.strictObject({ force: z.stringbool().default(false) });

const POLICY = z
  .strictObject({
    replicas: z.int().min(1).max(7),
    minReplicas: z.int().min(1).max(7),
    quotaBytes: COUNT,
    quotaInodes: COUNT,
    uid: COUNT,
    gid: COUNT,
    mode: z.int().min(0).max(0o7777),
    snapshotSchedule: z
      .string()
      .describe(
        "cron's five fields in UTC, or @hourly, @daily, @weekly, @monthly; '' takes it away",
      ),
    snapshotKeep: z.string().describe('which scheduled snapshots stay, such as hourly=24,daily=7'),
    backupPeriodMs: COUNT.describe('within which a backup has to succeed; 0: nobody waits for one'),
    backupSchedule: z
      .string()
      .describe("when backups are made, as snapshotSchedule; '' takes all three away"),
    backupRepository: z.string().describe('name of the repository that they go into'),
    backupKeep: z
      .string()
      .describe("which of them stay, such as daily=7,weekly=5,within=1m; '' keeps all"),
  })
  .partial();
const LAST_BACKUP = z
  .object({
    id: z.string().describe('in its repository'),
    at: z.string().describe('the moment whose content it has'),
    repository: z.string(),
    files: COUNT,
    bytes: COUNT.describe('of all files'),
    bytesRead: COUNT.describe('from the volume'),
    bytesSent: COUNT.describe('to the repository'),
    tookMs: COUNT,
  })
  .describe('the last backup that succeeded');
/** What the last verification of a repository found. */
export const LAST_VERIFICATION = z
  .object({
    at: z.string(),
    readShare: z.number().describe('share of the data that was read and checked, 0 to 1'),
    problems: COUNT,
  })
  .describe('of the repository that has the last backup');
/** How far the schedule of a job is. */
export const JOB_RUNS = z
  .object({
    since: z.string().describe('when the schedule was set'),
    due: z.string().optional().describe('the newest time that was due and is done'),
    doneAt: z.string().optional(),
    done: COUNT.describe('runs that were done'),
    askedAt: z.string().optional().describe('when someone last asked for a run at once'),
    claim: z
      .object({ due: z.string(), worker: z.string(), host: z.string(), since: z.string() })
      .optional()
      .describe('who runs it now'),
    failures: COUNT.describe('tries that failed since the last run that was done'),
    failedAt: z.string().optional(),
    failure: z.string().optional().describe('why the last one did'),
  })
  .meta({ id: 'JobRuns' });
const JOB = z
  .object({
    schedule: z.string().describe('five fields of cron in UTC'),
    nextAt: z.string().optional().describe('past while it waits for a worker'),
    doneAt: z.string().optional(),
    running: z
      .object({
        host: z.string(),
        since: z.string(),
        progress: z
          .object({ files: COUNT, bytes: COUNT, bytesExpected: COUNT.optional() })
          .optional(),
      })
      .optional(),
    failures: COUNT.describe('tries that failed since the last run that was done'),
    failedAt: z.string().optional(),
    failure: z.string().optional().describe('why the last one did'),
    retryAt: z.string().optional(),
    waits: z.string().optional().describe('why it waits: the volume is half filled'),
  })
  .describe('how far its schedule is')
  .meta({ id: 'Job' });
const ROLE = z.enum(['node', 'client', 'admin']);

/** Body: a volume to be made. */
export const NEW_VOLUME = z.strictObject({
  name: z.string(),
  policy: POLICY.default({}),
  from: z
    .string()
    .optional()
    .describe('VOLUME@SNAPSHOT to clone; policy is that of VOLUME but for what is given'),
  shard: z
    .int()
    .optional()
    .describe('volume shard that keeps its metadata; chosen by the number of volumes when absent'),
});
/** Body: what of a policy is to change. */
export const VOLUME_CHANGE = z.strictObject({ policy: POLICY });
/** Body: a token to be made. */
export const NEW_TOKEN = z.strictObject({
  role: ROLE.default('node'),
  expires: z.string().optional().describe('such as 30m, 12h or 7d; never when absent'),
});

const REASON = z
  .object({
    code: z.string(),
    message: z.string(),
    fix: z.string().describe('what to do next'),
  })
  .meta({ id: 'Reason' });

const NODE_FIELDS = {
  number: z.int(),
  name: z.string(),
  grpcAddress: z.string(),
  wireAddress: z.string(),
  adminAddress: z.string(),
  discoveryAddress: z.string(),
  zone: z.string().describe('failure domain'),
  weight: z.number().describe('relative share of data'),
  state: z.enum(['up', 'down', 'draining', 'out']),
  incarnation: z.string(),
};
const NODE = z.object(NODE_FIELDS).meta({ id: 'Node' });

const NODE_STATUS = z
  .object({
    ...NODE_FIELDS,
    epoch: COUNT.optional().describe('of the cluster map that the peer has'),
    silentMs: COUNT.optional().describe(
      'since its last sign of life to the leader of the system shard',
    ),
    space: z
      .object({ totalBytes: COUNT, freeBytes: z.number().min(0), usedBytes: COUNT })
      .optional()
      .describe('of its chunk store'),
    repair: z
      .object({ behindPartitions: COUNT, missingChunks: COUNT })
      .optional()
      .describe('what it lacks'),
  })
  .describe('what nobody could tell is absent')
  .meta({ id: 'NodeStatus' });

const SHARD_STATUS = z
  .object({
    shard: COUNT,
    leader: COUNT.describe('0: none'),
    term: COUNT,
    commit: COUNT,
    applied: COUNT,
    members: z.array(z.int()).readonly(),
  })
  .meta({ id: 'ShardStatus' });

/** Answer: ClusterStatus. */
export const STATUS = z
  .object({
    clusterId: z.string(),
    clusterName: z.string(),
    health: z.enum(['ok', 'warning', 'error']),
    reasons: z.array(REASON).readonly(),
    epoch: COUNT,
    answeredBy: z.int(),
    nodes: z.array(NODE_STATUS).readonly(),
    shards: z.array(SHARD_STATUS).readonly(),
    partitions: z.object({ settled: COUNT, moving: COUNT }),
    volumes: COUNT,
    schedules: z
      .array(
        z.object({
          volume: z.string(),
          schedule: z.string().describe('five fields of cron in UTC'),
          keep: z.string(),
          nextAt: z.string().optional().describe('when the next run is due'),
          made: z.string().optional().describe('name of the last snapshot made'),
          madeAt: z.string().optional(),
          isLate: z.boolean().describe('two runs were due and are not done'),
          failure: z.string().optional().describe('why the last try made none'),
          waits: z.string().optional().describe('why it waits: the volume is half filled'),
        }),
      )
      .readonly()
      .describe('snapshot schedules, late ones first, at most 256; empty while nobody leads'),
    backups: z
      .array(
        z.object({
          volume: z.string(),
          periodMs: COUNT.optional().describe(
            'within which a backup has to succeed, said or following from the schedule',
          ),
          repository: z.string().optional().describe('name of the one of its schedule'),
          keep: z.string().optional(),
          job: JOB.optional(),
          last: LAST_BACKUP.optional(),
          verification: LAST_VERIFICATION.optional(),
          isOverdue: z.boolean().describe('no backup of a moment within the period is known'),
        }),
      )
      .readonly()
      .describe(
        'volumes that have a backup or should, overdue ones first, at most 256; empty while nobody leads',
      ),
    repositories: z
      .array(
        z.object({
          name: z.string(),
          place: z.string(),
          prune: JOB.optional(),
          verify: JOB.optional(),
          verification: LAST_VERIFICATION.optional(),
        }),
      )
      .readonly()
      .describe('known by name, at most 256; empty while nobody leads'),
    restores: z
      .array(
        z.object({
          volume: z.string(),
          from: z.string(),
          state: z.enum(['restoring', 'failed']),
          percent: COUNT.optional(),
          host: z.string().optional(),
          trouble: z.string().optional(),
        }),
      )
      .readonly()
      .describe(
        'volumes that are being filled from a backup, failed ones first, at most 256; empty while nobody leads',
      ),
  })
  .meta({ id: 'Status' });

/** Answer: ClusterMap. */
export const MAP = z
  .object({
    clusterId: z.string(),
    epoch: COUNT,
    nodes: z.array(NODE).readonly(),
    shards: z.array(z.object({ shard: COUNT, members: z.array(z.int()).readonly() })).readonly(),
    partitions: z
      .array(
        z.object({
          replicas: z.array(z.int()).readonly(),
          previous: z.array(z.int()).readonly().optional(),
        }),
      )
      .readonly()
      .describe('by partition number'),
    revoked: z.array(z.string()).readonly().describe('serial numbers of revoked certificates'),
  })
  .meta({ id: 'Map' });

/** Answer: a peer as the map has it. */
export const ONE_NODE = z.object({ node: NODE });
/** Answer: all peers. */
export const NODES = z.object({ nodes: z.array(NODE).readonly() });

const KEPT_POLICY = z.object({
  replicas: z.int(),
  minReplicas: z.int(),
  quotaBytes: COUNT.describe('0: no limit'),
  quotaInodes: COUNT.describe('0: no limit'),
  uid: COUNT,
  gid: COUNT,
  mode: COUNT,
  snapshotSchedule: z.string().optional().describe('five fields of cron in UTC'),
  snapshotKeep: z.string().optional(),
  backupPeriodMs: COUNT.optional().describe('within which a backup has to succeed'),
  backupSchedule: z.string().optional().describe('five fields of cron in UTC'),
  backupRepository: z.string().optional(),
  backupKeep: z.string().optional(),
});

const RESTORE = z.object({
  source: z.object({ repository: z.string(), volume: z.string(), backup: z.string() }),
  state: z
    .enum(['restoring', 'failed', 'done'])
    .describe('until it is done no host can attach the volume'),
  since: z.string().describe('ISO 8601'),
  withPolicy: z.boolean(),
  asked: KEPT_POLICY.partial(),
  backupId: z.string().optional(),
  claim: z
    .object({ by: z.string(), host: z.string(), until: z.string() })
    .optional()
    .describe('who restores, and until when nobody else does'),
  progress: z
    .object({
      files: COUNT,
      bytes: COUNT,
      filesExpected: COUNT.optional(),
      bytesExpected: COUNT.optional(),
    })
    .optional(),
  isComplete: z.boolean().optional(),
  trouble: z.string().optional().describe('why the last try failed'),
});

const VOLUME = z
  .object({
    number: z.int(),
    name: z.string(),
    shard: COUNT,
    policy: KEPT_POLICY,
    backupRuns: JOB_RUNS.optional(),
    snapshotRuns: z
      .object({
        since: z.string().describe('when the schedule was set'),
        due: z.string().optional().describe('the newest time that was due and is done'),
        madeAt: z.string().optional(),
        made: z.string().optional().describe('name of the last snapshot made'),
      })
      .optional()
      .describe('how far the snapshot schedule is; times in ISO 8601'),
    state: z.enum(['creating', 'ready', 'removing']),
    createdAt: z.string(),
    attachedTo: z.array(z.string()).readonly().describe('hosts whose engine has it mounted'),
    from: z
      .object({
        volume: z.int(),
        volumeName: z.string(),
        snapshot: z.string(),
        generation: z.int(),
        shard: z.int().optional().describe('of the snapshot, where the clone is in another'),
      })
      .optional()
      .describe('of a clone'),
    restore: RESTORE.optional().describe('of one that was made from a backup'),
    lastBackup: LAST_BACKUP.optional(),
    lastVerification: LAST_VERIFICATION.optional(),
  })
  .meta({ id: 'Volume' });
/** Answer: a volume. */
export const ONE_VOLUME = z.object({ volume: VOLUME });
/** Answer: all volumes. */
export const VOLUMES = z.object({ volumes: z.array(VOLUME).readonly() });

const TOKEN = z
  .object({
    id: z.string(),
    role: ROLE,
    expiresAt: z.string().describe('ISO 8601; empty: never'),
    revoked: z.boolean(),
    createdAt: z.string(),
  })
  .meta({ id: 'Token' });
/** Answer: all tokens, without their secrets. */
export const TOKENS = z.object({ tokens: z.array(TOKEN).readonly() });
/** Answer: a token with its secret. */
export const MADE_TOKEN = z.object({
  token: z.string().describe('shown this once'),
  id: z.string(),
  role: ROLE,
  expiresAt: z.string(),
});

/** Answer of /healthz. */
export const ALIVE = z.object({ alive: z.boolean() });
/** Answer of /readyz. */
export const READY = z.object({ ready: z.boolean(), reasons: z.array(REASON).readonly() });
