/** A client whose shard and chunks are in memory, for tests of what it shows. */
import { apply, MemoryState, view } from '@holdfast/metadata';
import {
  type ChunkId,
  type Command,
  type CommandResult,
  type FileSystem,
  HoldfastError,
  INTERNAL_SESSION,
  type NodeReference,
  type Operation,
  type RequestContext,
  ROOT_INODE,
  type ShardId,
  type View,
  type VolumeNumber,
  type VolumeRecord,
} from '@holdfast/protocol';
import type { CallOutcome } from '../../cluster/cluster.ts';
import { MemoryJournal } from '../../session/journal.ts';
import { Session } from '../../session/session.ts';
import { Volumes } from '../../volumes.ts';
import { ClusterFileSystem } from '../cluster-file-system.ts';
import { FileData } from '../file-data.ts';
import { SnapshotNumbers } from './snapshot-numbers.ts';
import { withSnapshots } from './with-snapshots.ts';

/** The one volume that there is. */
export const VOLUME = 1 as VolumeNumber;
/** Its root. */
export const ROOT: NodeReference = { volume: VOLUME, ino: ROOT_INODE };
/** Root asks. */
export const CONTEXT: RequestContext = { uid: 0, gid: 0, pid: 0, requestId: 0 };
const RECORD = { number: VOLUME, name: 'v', shard: 1 as ShardId, state: 'ready' };
/** How files are made. */
export const FILE = { kind: 'file', mode: 0o644, rdev: 0, target: '', exclusive: true } as const;

/** A client whose shard is the state machine in memory, and whose chunks are too. */
export class World {
  readonly state = new MemoryState();
  readonly chunks = new Map<ChunkId, Buffer>();
  /** Looks that the shard answered. */
  readonly views: View[] = [];
  readonly session: Session;
  readonly fileSystem: FileSystem;
  /** Called when a look was answered, before its answer arrives. */
  afterView: (view: View) => void = () => {};
  nowMs = 0;
  #sequence = 0;

  constructor() {
    const policy = { mode: 0o750, uid: 5, gid: 6, quotaBytes: 0, quotaInodes: 0 };
    this.say({ op: 'init-volume', name: 'v', ...policy });
    const volumes = new Volumes({ callLeader: this.#call });
    const journal = new MemoryJournal();
    this.session = new Session({
      cluster: { callLeader: this.#call },
      journal,
      host: 'here',
      onNotice: () => {},
      onExpired: () => {},
      onRolledBack: async () => {},
      nowNs: () => 1n,
    });
    const chunks = {
      sink: { write: this.#write, barred: () => {} },
      source: { read: this.#read, ahead: () => {} },
    };
    const { session } = this;
    const live = new ClusterFileSystem({
      session,
      volumes,
      data: new FileData({ ...chunks, session, isHeld: () => false }),
      clusterSpace: () => Promise.resolve({ totalBytes: 100, freeBytes: 100 }),
      close: () => session.close(),
    });
    const numbers = new SnapshotNumbers();
    const nowMs = (): number => this.nowMs;
    this.fileSystem = withSnapshots({ ...chunks, live, session, volumes, numbers, nowMs });
  }

  /** An operation of somebody else. */
  say(operation: Operation, volume = VOLUME): void {
    this.#sequence += 1;
    const numbers = { sequence: this.#sequence, answeredBelow: 0, timeNs: 1n };
    const command = { v: 1, session: INTERNAL_SESSION, ...numbers, volume } as const;
    const result = apply(this.state, { ...command, operation });
    if (!result.ok) throw new HoldfastError('INTERNAL', `the shard refuses: ${result.code}`);
  }

  /** A file of the volume with these bytes. */
  async file(name: string, bytes: Uint8Array): Promise<NodeReference> {
    const { node } = await this.fileSystem.create(ROOT, name, FILE, CONTEXT);
    if (bytes.length > 0) await this.write(node, bytes);
    return node;
  }

  async write(node: NodeReference, bytes: Uint8Array): Promise<void> {
    const options = { append: false, killPrivileges: false };
    await this.fileSystem.write(node, 0, bytes, options, CONTEXT);
  }

  async read(node: NodeReference, length = 10): Promise<string> {
    return Buffer.concat(await this.fileSystem.read(node, 0, length, CONTEXT)).toString();
  }

  /** The node at a path below `.snapshots`. */
  async past(...names: string[]): Promise<NodeReference> {
    let node = (await this.fileSystem.lookup(ROOT, '.snapshots', CONTEXT)).node;
    for (const name of names) node = (await this.fileSystem.lookup(node, name, CONTEXT)).node;
    return node;
  }

  readonly #call = async <T>(
    _shard: ShardId,
    method: string,
    header: unknown,
  ): Promise<CallOutcome<T>> => {
    const answer = (value: unknown): CallOutcome<T> => ({ header: value as T, retried: false });
    if (method === 'registry.volumes') return answer({ volumes: [RECORD as VolumeRecord] });
    if (method === 'meta.execute') {
      return answer(apply(this.state, (header as { command: Command }).command) as CommandResult);
    }
    if (method !== 'meta.view') return answer({});
    const call = header as Parameters<typeof view>[1];
    this.views.push(call.view);
    const found = await view(this.state, call);
    this.afterView(call.view);
    return answer(found);
  };

  readonly #write = (bytes: Uint8Array): Promise<{ chunk: ChunkId; chunkLength: number }> => {
    const chunk = this.chunks.size.toString(16).padStart(32, '0') as ChunkId;
    this.chunks.set(chunk, Buffer.from(bytes));
    return Promise.resolve({ chunk, chunkLength: bytes.length });
  };

  readonly #read = (
    chunk: ChunkId,
    _whole: number,
    offset: number,
    length: number,
  ): Promise<readonly Uint8Array[]> => {
    const bytes = this.chunks.get(chunk);
    if (bytes === undefined) return Promise.reject(new HoldfastError('CHUNK_MISSING'));
    return Promise.resolve([bytes.subarray(offset, offset + length)]);
  };
}
