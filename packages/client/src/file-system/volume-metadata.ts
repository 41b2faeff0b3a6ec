import {
  type Attributes,
  HoldfastError,
  type InodeNumber,
  type ListedEntry,
  type NodeAnswer,
  type NodeReference,
  type Operation,
  type OperationAnswer,
  type RequestContext,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import { Delegations, VALID_MS_MAX } from '../session/delegations.ts';
import type { Session } from '../session/session.ts';
import type { Volumes } from '../volumes.ts';
import type { Beliefs } from './beliefs.ts';
import { BelievedVolumes } from './believed-volumes.ts';
import { addressOf } from './file-data.ts';
import type { Name } from './touched.ts';

/** Milliseconds after which the kernel believes nothing any more that it was told before. */
const KERNEL_BELIEFS_MS = 2 * VALID_MS_MAX;

/**
 * Names and attributes of all volumes: from memory while a volume's delegation is held, else from
 * the shard that leads it, each time.
 */
export class VolumeMetadata {
  readonly #session: Session;
  readonly #volumes: Volumes;
  readonly #forgetElsewhere: (volume: VolumeNumber) => Promise<void>;
  readonly #delegations: Delegations;
  readonly #beliefs = new BelievedVolumes();

  /** `forget` drops what else was learned of a volume, in this process and in the kernel. */
  constructor(session: Session, volumes: Volumes, forget: (volume: VolumeNumber) => Promise<void>) {
    this.#session = session;
    this.#volumes = volumes;
    this.#forgetElsewhere = forget;
    this.#delegations = new Delegations({
      acquire: (volume) => this.#delegation(volume, { op: 'acquire-delegation' }),
      giveBack: (volume) => this.#delegation(volume, { op: 'return-delegation' }),
      forget: (volume) => this.#forget(volume),
      trustedUntilMs: (volume) => this.#trustedUntilMs(volume),
      nowMs: () => performance.now(),
    });
  }

  /** The volume of a node that is being used; asks for its delegation. Throws ESTALE when it is gone. */
  async volume(node: NodeReference, context: RequestContext): Promise<VolumeRecord> {
    this.#delegations.used(node.volume);
    return this.volumeBeside(node, context);
  }

  /**
   * {@link volume} for requests of which nothing is kept: they are no reason for a delegation, which
   * others who change the volume would have to wait for.
   */
  async volumeBeside(node: NodeReference, context: RequestContext): Promise<VolumeRecord> {
    return this.#volumes.byNumber(node.volume, context.signal);
  }

  /** What a name stands for; undefined when there is no such name. */
  async lookUp(
    volume: VolumeRecord,
    name: Name,
    { signal }: RequestContext,
  ): Promise<NodeAnswer | undefined> {
    const { number } = volume;
    const ticket = this.ticket(number);
    const believed = this.#held(number)?.inodeAt(name);
    if (believed === 0) return undefined;
    const known = believed === undefined ? undefined : this.#held(number)?.attributes(believed);
    const ask = async (): Promise<Attributes | undefined> => {
      try {
        const view = { view: 'lookup', ...name } as const;
        return (await this.#session.view(addressOf(volume), view, signal)).attributes;
      } catch (error) {
        if (error instanceof HoldfastError && error.code === 'ENOENT') return undefined;
        throw error;
      }
    };
    const found =
      known ?? (await this.#beliefs.of(number).lookUp(name, ask, this.#mayKeep(number)));
    return found === undefined ? undefined : this.answer(number, found, ticket);
  }

  /** An inode's attributes. */
  async lookAt(
    volume: VolumeRecord,
    ino: InodeNumber,
    { signal }: RequestContext,
  ): Promise<NodeAnswer> {
    const { number } = volume;
    const ticket = this.ticket(number);
    const ask = async (): Promise<Attributes> =>
      (await this.#session.view(addressOf(volume), { view: 'attributes', ino }, signal)).attributes;
    const attributes =
      this.#held(number)?.attributes(ino) ??
      (await this.#beliefs.of(number).lookAt(ino, ask, this.#mayKeep(number)));
    return this.answer(number, attributes, ticket);
  }

  /** An inode's attributes, where they are known and may be believed. */
  known(volume: VolumeNumber, ino: InodeNumber): Attributes | undefined {
    return this.#held(volume)?.attributes(ino);
  }

  /** A page of a directory. */
  async list(
    volume: VolumeRecord,
    page: { readonly ino: InodeNumber; readonly after: number; readonly count: number },
    { signal }: RequestContext,
  ): Promise<{ entries: readonly ListedEntry[]; end: boolean }> {
    const { number } = volume;
    const ticket = this.ticket(number);
    const view = { view: 'read-directory', ...page } as const;
    const { entries, end } = await this.#beliefs.of(number).lookAround(
      () => this.#session.view(addressOf(volume), view, signal),
      (listing) =>
        listing.entries.map(
          ({ name, attributes }) => [{ parent: page.ino, name }, attributes] as const,
        ),
      this.#mayKeep(number),
    );
    const listed = entries.map(({ attributes, name, cookie }) => {
      return { ...this.answer(number, attributes, ticket), name, cookie };
    });
    return { entries: listed, end };
  }

  /** Has the shard apply an operation; what it may touch is not believed from before until after. */
  execute(
    volume: VolumeRecord,
    operation: Operation,
    context: RequestContext,
    era?: number,
  ): Promise<OperationAnswer> {
    const options = era === undefined ? {} : { era };
    return this.#beliefs
      .of(volume.number)
      .change(
        operation,
        () => this.#session.execute(addressOf(volume), operation, context, options),
        this.#mayKeep(volume.number),
      );
  }

  /** To be taken before a question is sent; see {@link Delegations}. */
  ticket(volume: VolumeNumber): number {
    return this.#delegations.ticket(volume);
  }

  /** An answer that may be believed for as long as the volume is held. */
  answer(volume: VolumeNumber, attributes: Attributes, ticket: number): NodeAnswer {
    const validMs = this.#delegations.validMs(volume, ticket);
    return { node: { volume, ino: attributes.ino }, attributes, validMs };
  }

  /** Whether what was learned of a volume may be believed now. */
  isHeld(volume: VolumeNumber): boolean {
    return this.#delegations.validMs(volume) > 0;
  }

  /** Another session is about to change a volume of which we hold a delegation. */
  recalled(volume: VolumeNumber): void {
    this.#delegations.recalled(volume);
  }

  /** The volume was rolled back: nothing that was learned of it holds. */
  async rolledBack(volume: VolumeNumber): Promise<void> {
    this.#delegations.lost(volume);
    await this.#forget(volume);
  }

  /** The session was fenced and replaced: nothing is held, and what was learned may have changed. */
  fenced(): void {
    for (const volume of this.#delegations.fenced()) {
      void this.#forget(volume).catch((error: unknown) => {
        if (!(error instanceof HoldfastError)) throw error;
      });
    }
  }

  #held(volume: VolumeNumber): Beliefs | undefined {
    return this.isHeld(volume) ? this.#beliefs.of(volume) : undefined;
  }

  /** To be taken before a question: whether its answer, once it is here, may be believed. */
  #mayKeep(volume: VolumeNumber): () => boolean {
    const ticket = this.#delegations.ticket(volume);
    return () => this.#delegations.validMs(volume, ticket) > 0;
  }

  async #delegation(volume: VolumeNumber, operation: Operation): Promise<OperationAnswer> {
    const record = await this.#volumes.byNumber(volume);
    return this.#session.execute(addressOf(record), operation, this.#session.internalContext());
  }

  #trustedUntilMs(volume: VolumeNumber): number {
    const record = this.#volumes.knownByNumber(volume);
    return record === undefined ? 0 : this.#session.trustedUntilMs(record.shard);
  }

  /** Drops what this process and the kernel believe about a volume. */
  async #forget(volume: VolumeNumber): Promise<void> {
    this.#beliefs.forget(volume);
    // The kernel may have to finish a call that waits for us first; what it believes ends by itself.
    const ended = Promise.withResolvers<void>();
    const timer = setTimeout(ended.resolve, KERNEL_BELIEFS_MS);
    await Promise.race([this.#forgetElsewhere(volume), ended.promise]);
    clearTimeout(timer);
  }
}
