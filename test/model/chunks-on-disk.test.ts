// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in a class
/** Chunks on real disks under random changes: what is needed is there, and in the end nothing else. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freedChunks } from '@holdfast/metadata';
import type { ChunkId, Operation } from '@holdfast/protocol';
import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ChunkStore } from '../../packages/node/src/chunks/store.ts';
import { openTestStore } from '../../packages/node/src/testing/chunk-store.ts';
import { Comparison } from './comparison.ts';
import type { RealShard } from './real-shard.ts';
import { type Step, stepsWithSnapshots } from './steps.ts';

/** Random sequences; more by the environment when something is suspected. */
const RUNS = Number(process.env['HOLDFAST_MODEL_RUNS'] ?? 12);

/** Far above what the runs take: machines that test may be busy with other things. */
const TIMEOUT_MS = 600_000;

const REPLICAS = 3;
const OPTIONS = { quotaBytes: 0, quotaInodes: 0, isFar: false, reclaimKeys: 4, fileCount: 2 };

/** What happens beside a step of a client. */
interface Event {
  readonly kind: 'nothing' | 'collect' | 'late' | 'restart';
  readonly a: number;
  readonly b: number;
}

const events: fc.Arbitrary<Event> = fc.record({
  kind: fc.oneof(
    { arbitrary: fc.constant('nothing' as const), weight: 6 },
    { arbitrary: fc.constant('collect' as const), weight: 3 },
    { arbitrary: fc.constant('late' as const), weight: 1 },
    { arbitrary: fc.constant('restart' as const), weight: 1 },
  ),
  a: fc.nat(1_000),
  b: fc.nat(1_000),
});

/** The chunk stores of a volume's replicas, and the leaders that delete in them. */
class Disks {
  readonly #real: RealShard;
  readonly #directory = mkdtempSync(join(tmpdir(), 'holdfast-collection-'));
  readonly #stores: ChunkStore[] = [];
  readonly #written = new Set<ChunkId>();
  /** Commands of leaders that were on their way when these died. */
  readonly #late: Operation[] = [];

  constructor(real: RealShard) {
    this.#real = real;
  }

  async begin(): Promise<void> {
    for (let replica = 0; replica < REPLICAS; replica++)
      this.#stores.push(await this.#open(replica));
  }

  #open(replica: number): Promise<ChunkStore> {
    return openTestStore(join(this.#directory, String(replica)));
  }

  async end(): Promise<void> {
    await Promise.all(this.#stores.map((store) => store.close()));
    rmSync(this.#directory, { recursive: true, force: true });
  }

  get #known(): ChunkId[] {
    return [...this.#real.knownChunks()] as ChunkId[];
  }

  async take({ kind, a, b }: Event): Promise<void> {
    if (kind === 'collect') await this.#collect(1 + (a % 8), b);
    if (kind === 'late') await this.#arrive(a, b);
    if (kind === 'restart') await this.#restart(a % REPLICAS);
  }

  /** A client has the chunks of its command on all replicas before it sends it. */
  async written(): Promise<void> {
    const fresh = this.#known.filter((chunk) => !this.#written.has(chunk));
    const bytes = (chunk: ChunkId): Uint8Array => Buffer.from(chunk);
    await Promise.all(
      fresh.flatMap((chunk) => this.#stores.map((store) => store.write(chunk, bytes(chunk)))),
    );
    for (const chunk of fresh) this.#written.add(chunk);
  }

  /** A round of a leader, who may die after some of the replicas, and with its command under way. */
  async #collect(count: number, fate: number): Promise<void> {
    const due = await freedChunks(this.#real.state, 0, count);
    const reached = fate % (REPLICAS + 3);
    const chunks = due.map(({ chunk }) => chunk);
    await Promise.all(this.#stores.slice(0, reached).map((store) => store.delete(chunks)));
    if (reached < REPLICAS || due.length === 0) return;
    const done = { op: 'chunks-collected', places: due.map(({ place }) => place) } as const;
    if (reached > REPLICAS) await this.#real.internal(done);
    if (reached > REPLICAS + 1 || reached === REPLICAS) this.#late.push(done);
  }

  async #arrive(index: number, again: number): Promise<void> {
    const at = index % Math.max(1, this.#late.length);
    const command = this.#late[at];
    if (command === undefined) return;
    await this.#real.internal(command);
    if (again % 2 === 0) this.#late.splice(at, 1);
  }

  async #restart(replica: number): Promise<void> {
    await this.#stores[replica]?.close();
    this.#stores[replica] = await this.#open(replica);
  }

  #on(store: ChunkStore): Set<ChunkId> {
    return new Set([...this.#written].filter((chunk) => store.length(chunk) !== undefined));
  }

  /** Whatever is not given up is on every disk. */
  async compare(): Promise<void> {
    const freed = new Set(
      (await freedChunks(this.#real.state, 0, 100_000)).map(({ chunk }) => chunk),
    );
    const needed = this.#known.filter((chunk) => !freed.has(chunk));
    for (const store of this.#stores) {
      const there = this.#on(store);
      expect(needed.filter((chunk) => !there.has(chunk))).toEqual([]);
    }
  }

  /** A leader that lives, at last: after it the disks hold what the records name, and nothing else. */
  async finish(): Promise<void> {
    for (const command of this.#late) await this.#real.internal(command);
    await this.#real.reclaimAll(OPTIONS.reclaimKeys);
    await this.#collect(100_000, REPLICAS + 1);
    for (let replica = 0; replica < REPLICAS; replica++) await this.#restart(replica);
    const known = new Set(this.#known);
    for (const store of this.#stores) expect(this.#on(store)).toEqual(known);
    expect(await freedChunks(this.#real.state, 0, 1)).toEqual([]);
  }
}

async function run(
  steps: readonly { readonly step: Step; readonly event: Event }[],
): Promise<void> {
  const comparison = new Comparison(OPTIONS);
  const disks = new Disks(comparison.real);
  try {
    await disks.begin();
    await comparison.begin();
    for (const { step, event } of steps) {
      await comparison.step(step);
      await disks.written();
      await disks.take(event);
      await disks.compare();
    }
    await disks.finish();
    await comparison.finish();
  } finally {
    await disks.end();
  }
}

describe('chunks on the disks of all replicas', { timeout: TIMEOUT_MS }, () => {
  it('are those that somebody needs, whichever leaders die while others are deleted', async () => {
    const both = fc.record({ step: stepsWithSnapshots(), event: events });
    const steps = fc.array(both, { minLength: 60, maxLength: 150, size: 'max' });
    await fc.assert(fc.asyncProperty(steps, run), { numRuns: RUNS });
  });
});
