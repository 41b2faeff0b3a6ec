import type { NodeReference, RequestContext } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import type { OperationName, RequestHeader } from './kernel/requests.ts';

/**
 * A request that has been read and must be answered exactly once. It is also the context that the
 * file system sees.
 */
export class PendingRequest implements RequestContext {
  readonly op: OperationName;
  readonly node: NodeReference;
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly requestId: number;
  /** Becomes true when the kernel sends the request again while it is being worked on: replies carry the newer id. */
  isResent: boolean;
  /** performance.now() when it was read. */
  readonly readAtMs: number;
  #abort: AbortController | undefined;
  #second: SecondStep | undefined;
  #isInterrupted = false;
  #isAnswered = false;

  constructor(header: RequestHeader, op: OperationName, readAtMs: number) {
    this.op = op;
    this.node = header.node;
    this.uid = header.uid;
    this.gid = header.gid;
    this.pid = header.pid;
    this.requestId = header.requestId;
    this.isResent = header.isResent;
    this.readAtMs = readAtMs;
  }

  /** Made when first asked for: most requests never need one, and it costs as much as a small request. */
  get signal(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#isInterrupted) this.#abort.abort();
    return this.#abort.signal;
  }

  /** The ids under which the request may have changed something. */
  get steps(): readonly number[] {
    const second = this.#second?.requestId;
    return second === undefined ? [this.requestId] : [this.requestId, second];
  }

  get isAnswered(): boolean {
    return this.#isAnswered;
  }

  /** The caller no longer wants it: the file system may give up with EINTR. */
  interrupt(): void {
    this.#isInterrupted = true;
    this.#abort?.abort();
  }

  /** To be called before the reply is written; throws INTERNAL at the second time. */
  markAnswered(): void {
    if (this.#isAnswered) {
      throw new HoldfastError('INTERNAL', `${this.op} ${this.requestId} was to be answered twice`);
    }
    this.#isAnswered = true;
  }

  /** The request whose step has this id. */
  static requestOf(step: number): number {
    return step - (step % 2);
  }

  /**
   * The context for a second change within this request: exactly-once goes by id, and the kernel
   * gives out even ones only.
   */
  secondStep(): RequestContext {
    this.#second ??= new SecondStep(this);
    return this.#second;
  }
}

class SecondStep implements RequestContext {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly requestId: number;
  readonly #request: PendingRequest;

  constructor(request: PendingRequest) {
    this.uid = request.uid;
    this.gid = request.gid;
    this.pid = request.pid;
    this.requestId = request.requestId + 1;
    this.#request = request;
  }

  get signal(): AbortSignal {
    return this.#request.signal;
  }
}
