import { type ChunkId, HoldfastError, type NodeNumber } from '@holdfast/protocol';
import type { ChunkCluster } from './cluster.ts';
import { NodeLoad, readOrder } from './replicas.ts';
import { BoundedWait } from './wait.ts';

/** Milliseconds for one replica to answer a read. */
const READ_MS_MAX = 5_000;
/** Milliseconds after which a slow replica is raced by the next: a multiple of what is usual, within bounds. */
const HEDGE_FACTOR = 6;
const HEDGE_MS_MIN = 30;
const HEDGE_MS_MAX = 1_000;
/** Weight of a new sample in the usual latency. */
const SMOOTHING = 0.1;

/** Bytes of a chunk that are wanted. */
interface Range {
  readonly chunk: ChunkId;
  readonly offset: number;
  readonly length: number;
}

/** Reads chunks from whichever replica answers first, the nearest being asked first. */
export class ChunkReader {
  readonly #cluster: ChunkCluster;
  readonly #load = new NodeLoad();
  #usualMs = 20;

  constructor(cluster: ChunkCluster) {
    this.#cluster = cluster;
  }

  /**
   * Bytes [offset, offset + length) of a chunk, verified against their checksums. Throws CORRUPT or
   * CHUNK_MISSING when every replica says so, NO_REPLICA when the bounded wait is over, EINTR.
   */
  async read(
    chunk: ChunkId,
    offset: number,
    length: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array> {
    await this.#cluster.ready(signal);
    const wait = new BoundedWait(this.#cluster.operationWaitMs, signal);
    let refused = false;
    for (;;) {
      const { map, identity } = this.#cluster;
      const nodes = readOrder(map, chunk, identity.node, this.#load);
      const outcome = await this.#race({ chunk, offset, length }, nodes, signal);
      if (outcome instanceof Uint8Array) return outcome;
      // Every replica has answered, and none has the bytes: only a newer map could know better.
      const final = outcome.every(
        (error) => error.code === 'CORRUPT' || error.code === 'CHUNK_MISSING',
      );
      const failure = unreadable(chunk, nodes, outcome);
      if (final && refused) throw failure;
      refused = final;
      wait.check(failure);
      await this.#cluster.refresh();
      await wait.pause(failure);
    }
  }

  /**
   * Asks the nodes one after the other, the next one also when the one before is slow; all failures,
   * or the bytes of whoever was first. The others are told that theirs are not wanted any more.
   */
  async #race(
    range: Range,
    nodes: readonly NodeNumber[],
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array | readonly HoldfastError[]> {
    const over = new AbortController();
    const isOver = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
    try {
      return await new Promise((resolve) => this.#askInTurn(range, nodes, isOver, resolve));
    } finally {
      over.abort();
    }
  }

  #askInTurn(
    range: Range,
    nodes: readonly NodeNumber[],
    signal: AbortSignal,
    finish: (outcome: Uint8Array | readonly HoldfastError[]) => void,
  ): void {
    const failures: HoldfastError[] = [];
    let asked = 0;
    let timer: NodeJS.Timeout | undefined;
    const askNext = (): void => {
      clearTimeout(timer);
      const node = nodes[asked];
      if (node === undefined) return;
      asked++;
      this.#readFrom(node, range, signal).then(finish, (error: unknown) => {
        failures.push(asFailure(error));
        if (failures.length === nodes.length || signal.aborted) finish(failures);
        else if (failures.length === asked) askNext();
      });
      if (asked < nodes.length) timer = setTimeout(askNext, this.#hedgeMs());
    };
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
    if (nodes.length === 0) finish([new HoldfastError('NO_REPLICA')]);
    else askNext();
  }

  async #readFrom(
    node: NodeNumber,
    { chunk, offset, length }: Range,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const connection = this.#cluster.connections.to(node, 'bulk');
    if (connection === undefined)
      throw new HoldfastError('UNREACHABLE', `node ${node} has no known address`);
    const start = performance.now();
    const header = { chunk, offset, length };
    const { body } = await this.#load.during(node, () =>
      connection.call('chunk.read', header, { signal, deadlineMs: READ_MS_MAX }),
    );
    if (body.length !== length) {
      throw new HoldfastError(
        'CORRUPT',
        `node ${node} answered ${body.length} of ${length} bytes of chunk ${chunk}`,
      );
    }
    this.#usualMs += SMOOTHING * (performance.now() - start - this.#usualMs);
    return body;
  }

  #hedgeMs(): number {
    return Math.min(HEDGE_MS_MAX, Math.max(HEDGE_MS_MIN, this.#usualMs * HEDGE_FACTOR));
  }
}

function asFailure(error: unknown): HoldfastError {
  if (error instanceof HoldfastError) return error;
  return new HoldfastError('INTERNAL', error instanceof Error ? error.message : String(error), {
    cause: error,
  });
}

function unreadable(
  chunk: ChunkId,
  nodes: readonly NodeNumber[],
  failures: readonly HoldfastError[],
): HoldfastError {
  const reasons = failures.map((failure) => failure.message).join('; ');
  const first = failures[0];
  const allDamaged = failures.every((failure) => failure.kind === 'damage');
  const code = allDamaged && first !== undefined ? first.code : 'NO_REPLICA';
  return new HoldfastError(
    code,
    `chunk ${chunk} cannot be read from nodes ${nodes.join(', ')}: ${reasons}`,
    { cause: first },
  );
}
