import {
  type Attributes,
  type Command,
  type CommandResult,
  type ExtentWrite,
  HoldfastError,
  INTERNAL_SESSION,
  type InodeNumber,
  type Operation,
  type OperationAnswer,
  ROOT_INODE,
  type SessionId,
  type View,
  type ViewAnswers,
  type VolumeNumber,
} from '@holdfast/protocol';
import { apply, OF_SHARD } from './apply.ts';
import { planReclaim } from './background.ts';
import { MemoryState } from './memory-state.ts';
import { view } from './views.ts';

type Create = Extract<Operation, { op: 'create' }>;

/** A session id of a small number. */
export function sessionId(number: number): SessionId {
  return number.toString(16).padStart(16, '0') as SessionId;
}

/** A chunk's id of a small number. */
export function chunkId(
  number: number,
): Extract<ExtentWrite['source'], { kind: 'chunk' }>['chunk'] {
  return number.toString(16).padStart(32, '0') as ReturnType<typeof chunkId>;
}

/** An extent of a chunk of the same length, unless given. */
export function chunkExtent(offset: number, length: number, chunk: number, at = 0): ExtentWrite {
  const source = { chunk: chunkId(chunk), chunkOffset: at, chunkLength: Math.max(length + at, 1) };
  return { offset, length, source: { kind: 'chunk', ...source } };
}

/** An extent of inline bytes given as text. */
export function inlineExtent(offset: number, text: string): ExtentWrite {
  const bytes = Buffer.from(text, 'latin1');
  return { offset, length: bytes.length, source: { kind: 'inline', bytes } };
}

/** The whole state as text, to compare: a decoder may leave its marks on the arrays themselves. */
export function textOf(state: MemoryState): string[] {
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
  return state.entries().map(([key, value]) => `${hex(key)} ${hex(value)}`);
}

/** A shard for unit tests: volume 1, session 1 open, each command one tick after the last. */
export class TestShard {
  readonly state = new MemoryState();
  readonly volume = 1 as VolumeNumber;
  readonly session = sessionId(1);
  nowNs = 0n;
  readonly #sequences = new Map<SessionId, number>();

  constructor(quota: { quotaBytes?: number; quotaInodes?: number } = {}) {
    const { quotaBytes = 0, quotaInodes = 0 } = quota;
    const owner = { mode: 0o755, uid: 10, gid: 20 };
    this.internal({ op: 'init-volume', name: 'v', ...owner, quotaBytes, quotaInodes });
    this.open(1);
  }

  /** A command with the next sequence of its session; fields may be given. */
  command(operation: Operation, fields: Partial<Command> = {}): Command {
    const session = fields.session ?? this.session;
    const sequence = (this.#sequences.get(session) ?? 0) + 1;
    this.#sequences.set(session, sequence);
    this.nowNs++;
    return {
      v: 1,
      session,
      sequence,
      answeredBelow: sequence,
      timeNs: this.nowNs,
      volume: OF_SHARD.has(operation.op) ? (0 as VolumeNumber) : this.volume,
      operation,
      ...fields,
    };
  }

  /** Applies a command of session 1, or of another one. */
  run(operation: Operation, fields: Partial<Command> = {}): CommandResult {
    return apply(this.state, this.command(operation, fields));
  }

  /** Applies and wants success. */
  do(operation: Operation, fields: Partial<Command> = {}): OperationAnswer {
    const result = this.run(operation, fields);
    if (result.ok) return result.answer;
    throw new HoldfastError('INTERNAL', `${operation.op} was refused: ${result.code}`);
  }

  /** Applies and gives the code of the refusal, or 'ok'. */
  code(operation: Operation, fields: Partial<Command> = {}): string {
    const result = this.run(operation, fields);
    return result.ok ? 'ok' : result.code;
  }

  /** A command of the leader. */
  internal(operation: Operation): OperationAnswer {
    return this.do(operation, { session: INTERNAL_SESSION, answeredBelow: 0 });
  }

  /** Opens session `number`. */
  open(number: number): SessionId {
    const session = sessionId(number);
    this.do({ op: 'open-session', host: `host-${number}` }, { session });
    return session;
  }

  /** Makes a file, or what `fields` say, in the root; gives its attributes. */
  create(name: string, fields: Partial<Create> = {}): Attributes {
    const { attributes } = this.do({
      op: 'create',
      parent: ROOT_INODE,
      name,
      kind: 'file',
      mode: 0o644,
      uid: 1,
      gid: 2,
      rdev: 0,
      target: '',
      exclusive: true,
      ...fields,
    });
    return attributes as Attributes;
  }

  /** Makes a directory; gives its inode. */
  mkdir(name: string, parent: InodeNumber = ROOT_INODE): InodeNumber {
    return this.create(name, { kind: 'directory', mode: 0o755, parent }).ino;
  }

  /** Writes extents. */
  write(ino: InodeNumber, ...extents: ExtentWrite[]): OperationAnswer {
    return this.do({ op: 'write-extents', ino, extents, append: false, killPrivileges: false });
  }

  /** A look of session 1. */
  view<V extends View>(wanted: V, session = this.session): Promise<ViewAnswers[V['view']]> {
    return view(this.state, { session, volume: this.volume, view: wanted });
  }

  /** Attributes of an inode. */
  async attributes(ino: InodeNumber): Promise<Attributes> {
    return (await this.view({ view: 'attributes', ino })).attributes;
  }

  /** The code of a refused look. */
  async viewCode(wanted: View): Promise<string> {
    try {
      await this.view(wanted);
      return 'ok';
    } catch (error) {
      return error instanceof HoldfastError ? error.code : String(error);
    }
  }

  /** Names in a directory, in listing order. */
  async names(ino: InodeNumber = ROOT_INODE): Promise<string[]> {
    const listed = await this.view({ view: 'read-directory', ino, after: 0, count: 1000 });
    return listed.entries.map(({ name }) => name);
  }

  /** Deletes all garbage as a leader does; gives the number of commands that it took. */
  async reclaimAll(count = 100): Promise<number> {
    for (let commands = 0; ; commands++) {
      const operation = await planReclaim(this.state, count);
      if (operation === undefined) return commands;
      this.internal(operation);
    }
  }
}
