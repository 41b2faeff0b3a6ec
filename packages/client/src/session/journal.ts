import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastError, isSessionId, LIMITS, type SessionId } from '@holdfast/protocol';

/**
 * Which sequence numbers the requests in flight use. A request that the kernel sends again after a
 * restart of the mount daemon must use its old numbers, so that its effect is exactly-once.
 */
export interface RequestJournal {
  /** The session to go on with; undefined when this is its first use. */
  readonly session: SessionId | undefined;
  /** The first session of all that follow each other here. */
  readonly origin: SessionId | undefined;
  /** Remembers a session; forgets all requests. */
  begin(session: SessionId): void;
  /** First of the SEQUENCES_PER_REQUEST numbers of a request; the same again until {@link done}. */
  reserve(requestId: number): number;
  /** Whether an earlier process began this request, so that its effect is unknown but for its numbers. */
  isInherited(requestId: number): boolean;
  /** The request was answered. */
  done(requestId: number): void;
  /** Of the inherited requests only these will be asked for again; the others were answered. */
  resumed(isUnderWay: (requestId: number) => boolean): void;
  /** Every number below has been answered. */
  answeredBelow(): number;
  close(): void;
}

/** Commands that one request may issue. */
export const SEQUENCES_PER_REQUEST = 8;

/** Numbers of requests in flight, in memory: for programs whose restart ends their requests too. */
export class MemoryJournal implements RequestJournal {
  session: SessionId | undefined;
  origin: SessionId | undefined;
  #next = SEQUENCES_PER_REQUEST;
  /** Insertion order is number order, so the first value is the lowest outstanding. */
  readonly #outstanding = new Map<number, number>();
  readonly #inherited = new Set<number>();

  begin(session: SessionId): void {
    this.session = session;
    this.origin ??= session;
    this.#outstanding.clear();
    this.#inherited.clear();
  }

  reserve(requestId: number): number {
    const known = this.#outstanding.get(requestId);
    if (known !== undefined) return known;
    if (this.#outstanding.size >= LIMITS.sessionRequestsMax / SEQUENCES_PER_REQUEST) {
      throw new HoldfastError('OVERLOADED', 'too many changes of this mount are in flight');
    }
    const base = this.#next;
    this.#next += SEQUENCES_PER_REQUEST;
    this.#outstanding.set(requestId, base);
    return base;
  }

  isInherited(requestId: number): boolean {
    return this.#inherited.has(requestId);
  }

  done(requestId: number): void {
    this.#outstanding.delete(requestId);
    this.#inherited.delete(requestId);
  }

  /** The inherited requests that nobody asks for again. */
  settled(isUnderWay: (requestId: number) => boolean): readonly number[] {
    return [...this.#inherited].filter((requestId) => !isUnderWay(requestId));
  }

  resumed(isUnderWay: (requestId: number) => boolean): void {
    for (const requestId of this.settled(isUnderWay)) this.done(requestId);
  }

  answeredBelow(): number {
    for (const base of this.#outstanding.values()) return base;
    return this.#next;
  }

  /** Takes over what a file journal found. */
  restore(
    { session, origin }: { readonly session: SessionId; readonly origin: SessionId },
    next: number,
    outstanding: readonly (readonly [number, number])[],
  ): void {
    this.session = session;
    this.origin = origin;
    // A process that was killed before its first request has set no numbers aside; 0 is none.
    this.#next = Math.max(next, SEQUENCES_PER_REQUEST);
    for (const [id, base] of [...outstanding].sort((a, b) => a[1] - b[1])) {
      this.#outstanding.set(id, base);
      this.#inherited.add(id);
    }
  }

  close(): void {}
}

/*
 * File layout, little endian; a record is written by one pwrite and the page cache outlives a
 * killed process (the file need not outlive the host: a rebooted host has a new mount).
 *
 * | offset          | bytes | what                                              |
 * | 0               | 8     | magic "HFJRNL01"                                  |
 * | 8               | 16    | session id, hexadecimal text                      |
 * | 24              | 8     | a number above every sequence number handed out   |
 * | 32              | 16    | id of the first session, hexadecimal text         |
 * | 64 + 16 * slot  | 8     | request id, 0: slot free                          |
 * | 72 + 16 * slot  | 8     | first sequence number                             |
 */
const MAGIC = 'HFJRNL01';
const SLOTS = LIMITS.sessionRequestsMax / SEQUENCES_PER_REQUEST;
const SLOTS_OFFSET = 64;
const SLOT_BYTES = 16;
/** Sequence numbers set aside at once, so that the header is seldom written. */
const RESERVE = 1024 * SEQUENCES_PER_REQUEST;

/** A journal in a file (best on tmpfs), for the mount daemon. */
export class FileJournal implements RequestJournal {
  readonly #memory = new MemoryJournal();
  readonly #descriptor: number;
  readonly #slots = new Map<number, number>();
  readonly #free: number[] = [];
  readonly #scratch = Buffer.alloc(SLOT_BYTES);
  #reservedUpTo = 0;

  /** Opens or makes `<directory>/requests`; throws HoldfastError CORRUPT when it is something else. */
  constructor(directory: string) {
    const path = join(directory, 'requests');
    this.#descriptor = openSync(path, 'a+', 0o600);
    closeSync(this.#descriptor);
    this.#descriptor = openSync(path, 'r+', 0o600);
    for (let slot = SLOTS - 1; slot >= 0; slot--) this.#free.push(slot);
    this.#load(path);
  }

  get session(): SessionId | undefined {
    return this.#memory.session;
  }

  get origin(): SessionId | undefined {
    return this.#memory.origin;
  }

  begin(session: SessionId): void {
    this.#memory.begin(session);
    this.#slots.clear();
    this.#free.length = 0;
    for (let slot = SLOTS - 1; slot >= 0; slot--) this.#free.push(slot);
    writeSync(
      this.#descriptor,
      Buffer.alloc(SLOTS * SLOT_BYTES),
      0,
      SLOTS * SLOT_BYTES,
      SLOTS_OFFSET,
    );
    this.#writeHeader();
  }

  reserve(requestId: number): number {
    const base = this.#memory.reserve(requestId);
    if (this.#slots.has(requestId)) return base;
    if (base + SEQUENCES_PER_REQUEST > this.#reservedUpTo) {
      this.#reservedUpTo = base + RESERVE;
      this.#writeHeader();
    }
    if (requestId < 0) return base; // the client's own: it ends with the process
    const slot = this.#free.pop();
    if (slot === undefined)
      throw new HoldfastError('INTERNAL', 'no free slot in the request journal');
    this.#slots.set(requestId, slot);
    this.#writeSlot(slot, requestId, base);
    return base;
  }

  done(requestId: number): void {
    this.#memory.done(requestId);
    const slot = this.#slots.get(requestId);
    if (slot === undefined) return;
    this.#slots.delete(requestId);
    this.#free.push(slot);
    this.#writeSlot(slot, 0, 0);
  }

  isInherited(requestId: number): boolean {
    return this.#memory.isInherited(requestId);
  }

  resumed(isUnderWay: (requestId: number) => boolean): void {
    for (const requestId of this.#memory.settled(isUnderWay)) this.done(requestId);
  }

  answeredBelow(): number {
    return this.#memory.answeredBelow();
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #writeHeader(): void {
    const header = Buffer.alloc(48);
    header.write(MAGIC, 0, 'latin1');
    header.write(this.#memory.session ?? '', 8, 'latin1');
    header.writeBigUInt64LE(BigInt(this.#reservedUpTo), 24);
    header.write(this.#memory.origin ?? '', 32, 'latin1');
    writeSync(this.#descriptor, header, 0, header.length, 0);
  }

  #writeSlot(slot: number, requestId: number, base: number): void {
    this.#scratch.writeBigUInt64LE(BigInt(requestId), 0);
    this.#scratch.writeBigUInt64LE(BigInt(base), 8);
    writeSync(this.#descriptor, this.#scratch, 0, SLOT_BYTES, SLOTS_OFFSET + slot * SLOT_BYTES);
  }

  #load(path: string): void {
    const bytes = Buffer.alloc(SLOTS_OFFSET + SLOTS * SLOT_BYTES);
    const length = readSync(this.#descriptor, bytes, 0, bytes.length, 0);
    if (length === 0) return;
    const session = bytes.toString('latin1', 8, 24);
    if (bytes.toString('latin1', 0, 8) !== MAGIC || !isSessionId(session)) {
      throw new HoldfastError(
        'CORRUPT',
        `${path} is not a request journal; remove it while nothing is mounted`,
      );
    }
    this.#reservedUpTo = Number(bytes.readBigUInt64LE(24));
    const outstanding: [number, number][] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      const id = Number(bytes.readBigUInt64LE(SLOTS_OFFSET + slot * SLOT_BYTES));
      if (id === 0) continue;
      outstanding.push([id, Number(bytes.readBigUInt64LE(SLOTS_OFFSET + slot * SLOT_BYTES + 8))]);
      this.#slots.set(id, slot);
      this.#free.splice(this.#free.indexOf(slot), 1);
    }
    const first = bytes.toString('latin1', 32, 48);
    // Before there was an origin there was nothing that could have been written by it.
    const origin = isSessionId(first) ? first : session;
    this.#memory.restore({ session, origin }, this.#reservedUpTo, outstanding);
  }
}
