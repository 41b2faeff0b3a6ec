import { errnoOf, HoldfastError } from '@holdfast/protocol';
import { Admission, type Admitted } from './admission.ts';
import type { Channel, ChannelListener, Reply } from './device/channel.ts';
import { hasFatalSignal } from './device/fatal-signal.ts';
import type { Handler, MountState } from './handlers/handler.ts';
import { HANDLERS } from './handlers/table.ts';
import { OPCODE } from './kernel/abi.ts';
import { type Dialect, decodeRequest } from './kernel/decode.ts';
import type { InitRequest, OperationName, RequestBody, RequestHeader } from './kernel/requests.ts';
import { MOUNT_LIMITS } from './limits.ts';
import { PendingRequest } from './pending-request.ts';

/** What a mount tells of itself. */
export interface MountObserver {
  /** A request was answered: its operation, the seconds since it was read, its errno (0: success). */
  onRequest?(op: OperationName, seconds: number, errno: number): void;
  /** Something that an operator or programmer must know; `event` is a noun and a verb. */
  onProblem?(event: string, fields: Readonly<Record<string, unknown>>): void;
}

/** Operations that the kernel wants no answer to. */
const SILENT_OPCODES: ReadonlySet<number> = new Set([
  OPCODE.forget,
  OPCODE.batchForget,
  OPCODE.interrupt,
]);

/**
 * From bytes to handlers and back: each request read gets exactly one reply, whatever happens. A
 * request without a reply would leave its caller unkillable.
 */
export class Dispatcher implements ChannelListener {
  readonly #channel: Channel;
  readonly #state: () => MountState;
  readonly #observer: MountObserver;
  readonly #dialect: () => Dialect | undefined;
  readonly #onInit: (body: InitRequest, header: RequestHeader) => Reply;
  readonly #onRead: (header: RequestHeader, oldest: number) => void;
  readonly #onAnswered: (requestId: number) => void;
  readonly #onEnd: (error: HoldfastError | undefined) => void;
  readonly #inFlight = new Map<number, PendingRequest>();
  readonly #admission = new Admission((admitted) => this.#start(admitted));
  #lockWaits = 0;
  #onIdle: (() => void) | undefined;

  constructor(options: {
    readonly channel: Channel;
    readonly state: () => MountState;
    readonly observer: MountObserver;
    /** How requests are laid out, once that is agreed; asked for each. */
    readonly dialect: () => Dialect | undefined;
    /** Decides on INIT; throws to refuse the connection. */
    readonly onInit: (body: InitRequest, header: RequestHeader) => Reply;
    /** Told of every request that will be answered later, and the lowest id of those. */
    readonly onRead: (header: RequestHeader, oldest: number) => void;
    /** Told when the answer of a request has left, with each id under which it changed something. */
    readonly onAnswered: (requestId: number) => void;
    readonly onEnd: (error: HoldfastError | undefined) => void;
  }) {
    this.#channel = options.channel;
    this.#state = options.state;
    this.#observer = options.observer;
    this.#dialect = options.dialect;
    this.#onInit = options.onInit;
    this.#onRead = options.onRead;
    this.#onAnswered = options.onAnswered;
    this.#onEnd = options.onEnd;
  }

  /** Whether a request has been read and not yet answered. */
  isInFlight(requestId: number): boolean {
    return this.#inFlight.has(requestId);
  }

  onRequest(bytes: Buffer): void {
    const decoded = decodeRequest(bytes, this.#dialect());
    if (decoded === undefined) {
      this.#observer.onProblem?.('request.unreadable', { bytes: bytes.length });
      return;
    }
    const { header } = decoded;
    if ('refusal' in decoded) this.#refuse(header, decoded.refusal);
    else if (decoded.body.op === 'init') this.#init(header, decoded.body);
    else if (decoded.body.op === 'interrupt') this.#interrupt(decoded.body.requestId);
    else if (!SILENT_OPCODES.has(header.opcode)) this.#admit(header, decoded.body);
  }

  onEnd(error: HoldfastError | undefined): void {
    this.#admission.clear();
    for (const request of this.#inFlight.values()) request.interrupt();
    this.#onEnd(error);
  }

  /** Resolves when nothing but lock waits is under way, or after `waitMs`; reading must have been stopped. */
  async settle(waitMs: number): Promise<void> {
    if (this.#admission.running === 0) return;
    const idle = new Promise<void>((resolve) => {
      this.#onIdle = resolve;
    });
    const timer = setTimeout(() => this.#onIdle?.(), waitMs);
    await idle;
    clearTimeout(timer);
  }

  #refuse(header: RequestHeader, refusal: HoldfastError): void {
    if (refusal.code !== 'ENOSYS') {
      const { opcode, length } = header;
      this.#observer.onProblem?.('request.refused', { opcode, length, reason: refusal.message });
    }
    if (!SILENT_OPCODES.has(header.opcode)) this.#channel.replyError(header, errnoOf(refusal));
  }

  #init(header: RequestHeader, body: InitRequest): void {
    try {
      this.#channel.reply(header, this.#onInit(body, header));
    } catch (error) {
      this.#channel.replyError(header, errnoOf(error));
      this.#channel.close();
      const cause = error instanceof HoldfastError ? error : new HoldfastError('INTERNAL');
      this.onEnd(cause);
    }
  }

  #admit(header: RequestHeader, body: RequestBody): void {
    const known = this.#inFlight.get(header.requestId);
    if (known !== undefined) {
      known.isResent ||= header.isResent;
      return;
    }
    const request = new PendingRequest(header, body.op, performance.now());
    this.#inFlight.set(header.requestId, request);
    this.#onRead(header, this.#oldestInFlight() ?? header.requestId);
    if (isLockWait(body)) this.#startLockWait(request, body);
    else this.#admission.admit({ request, body });
    if (this.#admission.isFull) this.#channel.pause();
  }

  /** Ids come in growing order, and a Map keeps it. */
  #oldestInFlight(): number | undefined {
    return this.#inFlight.keys().next().value;
  }

  #start(admitted: Admitted): void {
    void this.#work(admitted.request, admitted.body).then(() => {
      this.#admission.finished(admitted);
      if (this.#onIdle !== undefined) {
        if (this.#admission.running === 0) this.#onIdle();
      } else if (this.#admission.hasRoom) this.#channel.resume();
    });
  }

  #startLockWait(request: PendingRequest, body: RequestBody): void {
    if (this.#lockWaits >= MOUNT_LIMITS.lockWaitsMax) {
      this.#answerError(request, new HoldfastError('OVERLOADED', 'too many lock waits'));
      return;
    }
    this.#lockWaits += 1;
    void this.#work(request, body).then(() => {
      this.#lockWaits -= 1;
    });
  }

  /** Never rejects: what is thrown is answered. */
  async #work(request: PendingRequest, body: RequestBody): Promise<void> {
    try {
      const handler = HANDLERS[body.op as keyof typeof HANDLERS] as Handler<OperationName>;
      const state = this.#state();
      refuseVoid(body, state);
      const reply = await handler(body as never, request, state);
      // What it was for may have become void meanwhile: then it is not known of which file this is.
      refuseVoid(body, state);
      this.#answer(request, reply);
    } catch (error) {
      this.#answerError(request, error);
    }
  }

  #answer(request: PendingRequest, reply: Reply): void {
    this.#finish(request, 0);
    this.#channel.reply(request, reply);
    for (const id of request.steps) this.#onAnswered(id);
  }

  #answerError(request: PendingRequest, error: unknown): void {
    const errno = errnoOf(error);
    if (!(error instanceof HoldfastError) || error.kind !== 'refusal') {
      this.#observer.onProblem?.('request.failed', { op: request.op, errno, error });
    }
    if (request.isAnswered) return; // thrown after the reply: reported above, but not to the caller
    this.#finish(request, errno);
    this.#channel.replyError(request, errno);
    for (const id of request.steps) this.#onAnswered(id);
  }

  #finish(request: PendingRequest, errno: number): void {
    request.markAnswered();
    this.#inFlight.delete(request.requestId);
    this.#observer.onRequest?.(request.op, (performance.now() - request.readAtMs) / 1000, errno);
  }

  /**
   * A signal came to a waiting caller. Only a lock wait gives up for any signal. Everything else
   * behaves as on a local disk, whose reads and writes no handled signal disturbs (databases take
   * EINTR from fsync for a lost disk): it gives up when the caller is being killed. The kernel tells
   * of the first signal only, hence the repeated look.
   */
  #interrupt(requestId: number): void {
    const request = this.#inFlight.get(requestId);
    if (request === undefined) return;
    if (request.op !== 'setlkw' && !hasFatalSignal(request.pid)) {
      setTimeout(() => this.#interrupt(requestId), MOUNT_LIMITS.fatalCheckMs).unref();
      return;
    }
    request.interrupt();
    if (this.#admission.withdraw(request)) {
      this.#answerError(request, new HoldfastError('EINTR'));
    }
  }
}

function isLockWait(body: RequestBody): boolean {
  return body.op === 'setlkw' && body.lock.type !== 'unlock';
}

/** What a file is closed with, whatever became of it. */
const CLOSING: ReadonlySet<OperationName> = new Set<OperationName>(['flush', 'release']);

/** Refuses what is asked of an open file whose volume was rolled back since: ESTALE. */
function refuseVoid(body: RequestBody, { handles }: MountState): void {
  if (!('handle' in body) || body.handle === undefined || CLOSING.has(body.op)) return;
  if (handles.get(body.handle)?.isVoid === true) throw new HoldfastError('ROLLED_BACK');
}
