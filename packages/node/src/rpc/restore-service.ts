/** Restores into volumes that were made from a backup, as the framed protocol serves them. */
import { HoldfastError, type VolumeNumber, type VolumePolicy } from '@holdfast/protocol';
import type { PeerIdentity } from '@holdfast/wire';
import { z } from 'zod';
import type { Registry } from '../membership/registry.ts';
import type { VolumeLifecycle } from '../membership/volumes.ts';

/** Milliseconds after the last sign of life of who restores, after which another may go on. */
const RESTORE_CLAIM_MS = 15_000;

/** Adds one method; `header` as the schema has it. */
export type RegisterMethod = <T>(
  method: string,
  schema: z.ZodType<T>,
  work: (header: T, peer: PeerIdentity) => Promise<unknown>,
) => void;

/** Fields that are there. */
function present<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const there = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(there) as { [K in keyof T]: Exclude<T[K], undefined> };
}

const HELD = z.object({ volume: z.number(), by: z.string().min(1).max(64) });
const CLAIM = HELD.extend({ host: z.string() });
const NOTE = HELD.extend({
  backupId: z.string().optional(),
  progress: z
    .strictObject({
      files: z.number(),
      bytes: z.number(),
      filesExpected: z.number().optional(),
      bytesExpected: z.number().optional(),
    })
    .transform(present)
    .optional(),
  isComplete: z.boolean().optional(),
  trouble: z.string().optional(),
});
const END = HELD.extend({
  outcome: z.enum(['done', 'failed', 'left']),
  trouble: z.string().optional(),
});

/** Adds the methods `registry.restore-*`. */
export function serveRestores(
  on: RegisterMethod,
  {
    registry,
    volumes,
    policy,
    checkActsFor,
  }: {
    readonly registry: Registry;
    readonly volumes: VolumeLifecycle;
    readonly policy: z.ZodType<Partial<VolumePolicy>>;
    readonly checkActsFor: (peer: PeerIdentity, host: string) => void;
  },
): void {
  const until = (): string => new Date(Date.now() + RESTORE_CLAIM_MS).toISOString();
  on('registry.restore-claim', CLAIM, async ({ volume, by, host }, peer) => {
    checkActsFor(peer, host);
    registry.assertLeader();
    const change = { op: 'claim-restore', volume: volume as VolumeNumber, by, host } as const;
    return { volume: (await registry.execute({ ...change, until: until() })).volume };
  });
  on('registry.restore-note', NOTE, async ({ volume, ...note }) => {
    registry.assertLeader();
    const change = { op: 'note-restore', volume: volume as VolumeNumber } as const;
    await registry.execute({ ...change, ...present(note), until: until() });
    return {};
  });
  on('registry.restore-end', END, async ({ volume, ...end }) => {
    registry.assertLeader();
    const change = { op: 'end-restore', volume: volume as VolumeNumber } as const;
    await registry.execute({ ...change, ...present(end) });
    return {};
  });
  on('registry.restore-policy', HELD.extend({ policy }), async ({ volume, by, policy: given }) => {
    registry.assertLeader();
    const all = (await registry.view({ view: 'volumes' })).volumes;
    const record = all.find(({ number }) => number === volume);
    if (record?.restore?.claim?.by !== by)
      throw new HoldfastError('CONFLICT', 'the volume is restored by somebody else');
    return { volume: await volumes.update(record.name, given) };
  });
}
