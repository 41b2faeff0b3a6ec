import type { NodeNumber } from '@holdfast/protocol';
import { encodeFrame, type GroupMessage } from './raft-codec.ts';

/** Bounds of what waits for one peer; beyond them messages are dropped, and Raft sends anew. */
const QUEUED_MESSAGES_MAX = 16_384;
const QUEUED_BYTES_MAX = 32 * 1024 * 1024;
/** Bytes of entries after which a frame is full. */
const FRAME_BYTES_MAX = 1024 * 1024;
/** Milliseconds before a broken connection is tried again: first, and at most. */
const RECONNECT_MS_MIN = 50;
const RECONNECT_MS_MAX = 2000;

/** One open stream to the peer, of either side's making. */
export interface LinkStream {
  /** `done` when the next frame may be written; with an error when the stream has broken. */
  write(frame: Buffer, done: (error?: Error | null) => void): void;
  /** Ends it in order: what was written arrives. */
  end(): void;
  /** Breaks it off. */
  cancel(): void;
}

/** Options of {@link PeerLink}. */
export interface PeerLinkOptions {
  readonly self: NodeNumber;
  readonly peer: NodeNumber;
  /** Opens a stream, or undefined when no address is known; it reports to `opened` and `closed`. */
  readonly dial: () => LinkStream | undefined;
  readonly onUnreachable: () => void;
}

/**
 * All that goes to one peer. Signs of life and votes overtake entries that wait. While a frame is not
 * taken by the network yet, the next one gathers.
 */
export class PeerLink {
  readonly #options: PeerLinkOptions;
  readonly #streams = new Map<LinkStream, 'dialed' | 'accepted'>();
  #active: LinkStream | undefined;
  #urgent: GroupMessage[] = [];
  #appends: GroupMessage[] = [];
  #appendBytes = 0;
  #isWriting = false;
  #isScheduled = false;
  #backOffMs = RECONNECT_MS_MIN;
  #retry: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: PeerLinkOptions) {
    this.#options = options;
  }

  /** Queues a message; drops it when too much waits, or when the peer was not reachable just now. */
  send(message: GroupMessage): void {
    const bytes = entryBytes(message);
    const isFull =
      this.#urgent.length + this.#appends.length >= QUEUED_MESSAGES_MAX ||
      this.#appendBytes + bytes > QUEUED_BYTES_MAX;
    if (this.#isClosed) return;
    if (isFull || this.#retry !== undefined) {
      this.#options.onUnreachable();
      return;
    }
    if (message.message.kind === 'append' && bytes > 0) {
      this.#appends.push(message);
      this.#appendBytes += bytes;
    } else this.#urgent.push(message);
    this.#schedule();
  }

  /** One frame for all that is sent in this turn of the event loop. */
  #schedule(): void {
    if (this.#isScheduled || this.#isWriting) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      this.#write();
    });
  }

  #write(): void {
    if (this.#isWriting || this.#isClosed) return;
    const messages = this.#next();
    if (messages.length === 0) return;
    const stream = this.#active ?? this.#dial();
    if (stream === undefined) {
      this.#fail();
      return;
    }
    this.#isWriting = true;
    stream.write(encodeFrame(messages), (error) => {
      if (stream !== this.#active) return;
      this.#isWriting = false;
      if (!error) this.#schedule();
    });
  }

  #next(): GroupMessage[] {
    const messages = this.#urgent;
    this.#urgent = [];
    let bytes = 0;
    let count = 0;
    while (count < this.#appends.length && bytes < FRAME_BYTES_MAX) {
      bytes += entryBytes(this.#appends[count]!);
      count += 1;
    }
    this.#appendBytes -= bytes;
    messages.push(...this.#appends.splice(0, count));
    return messages;
  }

  #dial(): LinkStream | undefined {
    const stream = this.#options.dial();
    if (stream !== undefined) this.#add(stream, 'dialed');
    return stream;
  }

  /** The peer has opened a stream to us. */
  accepted(stream: LinkStream): void {
    if (this.#isClosed) stream.cancel();
    else {
      this.#add(stream, 'accepted');
      this.alive();
    }
  }

  #add(stream: LinkStream, origin: 'dialed' | 'accepted'): void {
    this.#streams.set(stream, origin);
    // When both sides dialed at once, both keep the one that the lower number dialed.
    const preferred = this.#options.self < this.#options.peer ? 'dialed' : 'accepted';
    for (const [other, otherOrigin] of this.#streams) {
      if (other !== stream && otherOrigin === origin) other.end();
      else if (other !== stream && otherOrigin !== preferred) other.end();
      else if (other !== stream) stream.end();
    }
    if (this.#active === undefined || origin === preferred) this.#use(stream);
  }

  #use(stream: LinkStream): void {
    this.#active = stream;
    this.#isWriting = false;
    if (this.#urgent.length + this.#appends.length > 0) this.#schedule();
  }

  /** The peer has answered: the next failure is a new one. */
  alive(): void {
    this.#backOffMs = RECONNECT_MS_MIN;
    clearTimeout(this.#retry);
    this.#retry = undefined;
  }

  /** The stream is at its end, in order or not. */
  closed(stream: LinkStream): void {
    if (!this.#streams.delete(stream) || stream !== this.#active) return;
    this.#active = undefined;
    this.#isWriting = false;
    const [other] = this.#streams.keys();
    if (other !== undefined) this.#use(other);
    else if (!this.#isClosed) this.#fail();
  }

  /** Nothing gets through now: what waits is stale soon, and Raft must know. */
  #fail(): void {
    this.#urgent = [];
    this.#appends = [];
    this.#appendBytes = 0;
    if (this.#retry === undefined) {
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
      }, this.#backOffMs).unref();
      this.#backOffMs = Math.min(2 * this.#backOffMs, RECONNECT_MS_MAX);
    }
    this.#options.onUnreachable();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#retry);
    for (const stream of this.#streams.keys()) stream.cancel();
  }
}

function entryBytes({ message }: GroupMessage): number {
  if (message.kind !== 'append') return 0;
  return message.entries.reduce((sum, entry) => sum + entry.data.byteLength + 32, 0);
}
