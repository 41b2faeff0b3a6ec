import { join } from 'node:path';
import type { FileSystem } from '@holdfast/protocol';
import { HoldfastError } from '@holdfast/protocol';
import { Channel, type Reply } from './device/channel.ts';
import type { watch } from './device/readiness.ts';
import { Dispatcher, type MountObserver } from './dispatcher.ts';
import type { MountState } from './handlers/handler.ts';
import { OpenHandles } from './handles.ts';
import { Invalidator } from './invalidate.ts';
import type { Dialect } from './kernel/decode.ts';
import { OPEN_REPLY } from './kernel/flags.ts';
import {
  type Agreement,
  encodeAgreement,
  hasAcls,
  hasDirectIo,
  hasEpoch,
  hasExtendedXattrs,
  hasResend,
  type MountWishes,
  negotiate,
} from './kernel/negotiate.ts';
import { encodeIncrementEpoch, encodeResend } from './kernel/notify.ts';
import type { InitRequest, RequestHeader } from './kernel/requests.ts';
import { MOUNT_LIMITS } from './limits.ts';
import { LockOwners } from './lock-owners.ts';
import { LostRequests } from './lost-requests.ts';
import { MappedPages } from './mapped-pages.ts';
import { PendingRequest } from './pending-request.ts';
import { loadInit, type SavedInit, STATE_FILE, saveInit, Watermark } from './restart.ts';

/** Options of {@link MountServer.start}. */
export interface MountServerOptions {
  /** /dev/fuse, mounted; stays open when the server ends. */
  readonly descriptor: number;
  readonly fileSystem: FileSystem;
  /**
   * Directory for what the next daemon on this connection needs (best on tmpfs, never below the
   * mount itself); without one a restart is impossible.
   */
  readonly stateDirectory?: string;
  readonly wishes: MountWishes;
  readonly observer: MountObserver;
  /** How the device is watched; for tests. */
  readonly readiness?: typeof watch;
  /** INIT flags (INIT_FLAG) treated as if the kernel did not offer them; for tests of older kernels. */
  readonly withoutFlags?: bigint;
}

/** Serves one connection of the kernel with a file system. */
export class MountServer {
  /**
   * Resolves at the unmount. Rejects when the device fails or the kernel is too old (ENOTSUP); then
   * another try with the same connection is useless for ENOTSUP and right for all else.
   */
  readonly ended: Promise<void>;
  readonly #options: MountServerOptions;
  readonly #channel: Channel;
  readonly #dispatcher: Dispatcher;
  readonly #handles: OpenHandles;
  readonly #lockOwners: LockOwners;
  readonly #invalidator: Invalidator;
  readonly #mappedPages: MappedPages;
  #state: MountState | undefined;
  #dialect: Dialect | undefined;
  #isResuming = false;
  #watermark: Watermark | undefined;
  #lost: LostRequests | undefined;

  /** Begins to serve; goes on where an earlier daemon left off when the state directory knows of one. */
  static start(options: MountServerOptions): MountServer {
    return new MountServer(options);
  }

  private constructor(options: MountServerOptions) {
    this.#options = options;
    const directory = options.stateDirectory;
    const saved = directory === undefined ? undefined : loadInit(directory);
    this.#handles = new OpenHandles(directory && join(directory, STATE_FILE.handles));
    this.#lockOwners = new LockOwners(directory && join(directory, STATE_FILE.locks));
    this.#channel = new Channel(options.descriptor, options.readiness);
    this.#invalidator = new Invalidator({
      channel: this.#channel,
      handles: this.#handles,
      isBelieved: (volume) => options.fileSystem.isBelieved(volume),
      isRestart: saved !== undefined,
      nowMs: () => performance.now(),
    });
    this.#mappedPages = new MappedPages({
      isBelieved: ({ volume }) => options.fileSystem.isBelieved(volume),
      drop: (node) => this.#invalidator.invalidate({ what: 'inode', node }),
      onFailure: (error) => options.observer.onProblem?.('pages.kept', { error }),
    });
    const ending = Promise.withResolvers<void>();
    this.ended = ending.promise;
    this.#dispatcher = new Dispatcher({
      channel: this.#channel,
      state: () => this.#requireState(),
      observer: options.observer,
      dialect: () => this.#dialect,
      onInit: (body, header) => this.#init(body, header),
      onRead: ({ requestId, isResent }, oldest) => {
        if (!isResent) this.#resumed();
        this.#lost?.read(requestId, oldest);
      },
      onAnswered: (id) => options.fileSystem.answered(id),
      onEnd: (error) => {
        this.#closeFiles();
        if (error === undefined) ending.resolve();
        else ending.reject(error);
      },
    });
    options.fileSystem.onInvalidate(async (what) => {
      if (what.what === 'handles') this.#handles.voidAll(what.volume);
      else await this.#invalidator.invalidate(what);
    });
    if (saved !== undefined) this.#continue(saved);
    this.#channel.start(this.#dispatcher);
  }

  /**
   * Ends service but leaves the mount alive: requests under way are finished (at most
   * MOUNT_LIMITS.stopWaitMs), new ones wait in the kernel for the next daemon.
   */
  async stop(): Promise<void> {
    this.#channel.pause();
    await this.#dispatcher.settle(MOUNT_LIMITS.stopWaitMs);
    this.#channel.close();
    this.#closeFiles();
  }

  /** Number of files that the kernel holds open. */
  get openFiles(): number {
    return this.#handles.size;
  }

  #init(body: InitRequest, header: RequestHeader): Reply {
    const offer = { ...body, flags: body.flags & ~(this.#options.withoutFlags ?? 0n) };
    const agreement = negotiate(offer, this.#options.wishes);
    const directory = this.#options.stateDirectory;
    // Before the answer: a successor that knows an unanswered INIT is well, the contrary is not.
    if (directory !== undefined) saveInit(directory, { requestId: header.requestId, agreement });
    this.#agree(agreement, { isRestart: false });
    return encodeAgreement(agreement);
  }

  #agree(agreement: Agreement, { isRestart }: { isRestart: boolean }): void {
    const directory = this.#options.stateDirectory;
    if (directory !== undefined && !hasResend(agreement)) {
      this.#watermark = new Watermark(directory, MOUNT_LIMITS.watermarkStep);
      this.#lost = new LostRequests({
        channel: this.#channel,
        watermark: this.#watermark,
        isRestart,
        isInFlight: (id) => this.#dispatcher.isInFlight(id),
        onLost: (id) => this.#forgetLost(id),
      });
    }
    this.#dialect = { extendedXattrs: hasExtendedXattrs(agreement) };
    this.#state = {
      fileSystem: this.#options.fileSystem,
      handles: this.#handles,
      lockOwners: this.#lockOwners,
      invalidator: this.#invalidator,
      mappedPages: this.#mappedPages,
      openReplyFlags: hasDirectIo(agreement) ? OPEN_REPLY.directIo : 0,
      hasAcls: hasAcls(agreement),
    };
  }

  /** Takes over from an earlier daemon. */
  #continue({ requestId, agreement }: SavedInit): void {
    this.#agree(agreement, { isRestart: true });
    this.#isResuming = true;
    const { fileSystem } = this.#options;
    for (const [, { node, write }] of this.#handles.entries()) {
      fileSystem.reopen(node, { write });
      this.#mappedPages.suspect(node); // of what its predecessor gave the kernel nothing is known
    }
    // It may have died between writing INIT's outcome down and answering.
    this.#channel.reply({ requestId, isResent: false }, encodeAgreement(agreement));
    if (hasResend(agreement)) this.#channel.notifyNow(encodeResend());
    if (hasEpoch(agreement)) void this.#channel.notify(encodeIncrementEpoch());
  }

  /** RESEND puts requests before all others: the first that is not sent again ends them. */
  #resumed(): void {
    if (!this.#isResuming) return;
    this.#isResuming = false;
    this.#options.fileSystem.resumed((step) =>
      this.#dispatcher.isInFlight(PendingRequest.requestOf(step)),
    );
  }

  /** An open that was done but never answered is open to nobody. */
  #forgetLost(requestId: number): void {
    const { fileSystem, observer } = this.#options;
    observer.onProblem?.('request.lost', { requestId });
    const file = this.#handles.get(requestId);
    if (file === undefined) return;
    this.#handles.closed(requestId);
    fileSystem.release(file.node, { write: file.write }).catch((error: unknown) => {
      observer.onProblem?.('release.failed', { error });
    });
  }

  #requireState(): MountState {
    if (this.#state === undefined)
      throw new HoldfastError('INTERNAL', 'a request came before INIT');
    return this.#state;
  }

  #closeFiles(): void {
    this.#handles.close();
    this.#lockOwners.close();
    this.#mappedPages.close();
    this.#watermark?.close();
    this.#watermark = undefined;
    this.#lost = undefined;
  }
}
