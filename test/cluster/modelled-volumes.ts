// oxlint-disable vitest/no-standalone-expect -- the body of a test lives in a class
/** Volumes of whole blocks, and a model of what they and their snapshots hold. */
import type { ClusterClient } from '@holdfast/client';
import {
  type FileSystem,
  HoldfastError,
  type NodeReference,
  ROOT_INODE,
  SNAPSHOTS_INODE,
  type VolumeRecord,
} from '@holdfast/protocol';
import { expect } from 'vitest';

/** Bytes of a block: more than rides in the log, so that every write makes a chunk. */
const BLOCK = 64 * 1024;
/** Blocks of a file, and of a write, at most. */
const FILE_BLOCKS = 12;
const WRITE_BLOCKS = 4;
const FILES = ['a', 'b', 'c'];
const VOLUMES_MAX = 4;
/** Each may lie upon the one before; eight do. */
const ROLLBACKS_MAX = 4;
const ROOT = { uid: 0, gid: 0, pid: 0, requestId: 0 };

/** Files by name. A file's bytes are never changed, but replaced: who keeps them keeps what was. */
type Files = ReadonlyMap<string, Buffer>;

/** A volume as it should be. */
interface Modelled {
  readonly record: VolumeRecord;
  readonly base?: Modelled;
  files: Map<string, Buffer>;
  readonly snapshots: Map<string, Files>;
}

/** Random steps, each done to the cluster and to the model. */
export class ModelledVolumes {
  readonly #client: ClusterClient;
  readonly #fileSystem: FileSystem;
  readonly #random: (below: number) => number;
  readonly volumes: Modelled[] = [];
  #names = 0;
  #rollbacks = 0;

  /** `random`: a whole number below a bound. */
  constructor(client: ClusterClient, random: (below: number) => number) {
    this.#client = client;
    this.#fileSystem = client.fileSystem();
    this.#random = random;
  }

  async begin(): Promise<void> {
    const record = await this.#client.volumes.create('v');
    this.volumes.push({ record, files: new Map(), snapshots: new Map() });
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[this.#random(Math.max(1, list.length))];
  }

  /** One step. */
  async step(): Promise<void> {
    const volume = this.#one(this.volumes) as Modelled;
    const kind = this.#random(20);
    if (kind < 9) await this.#write(volume);
    else if (kind < 11) await this.#cut(volume);
    else if (kind < 12) await this.#unlink(volume);
    else if (kind < 15) await this.#snapshot(volume);
    else if (kind < 17) await this.removeSnapshot(volume);
    else if (kind < 18) await this.#clone(volume);
    else if (kind < 19) await this.#rollBack(volume);
    else await this.#remove(volume);
  }

  async #node({ record }: Modelled, name: string): Promise<NodeReference> {
    const root = { volume: record.number, ino: ROOT_INODE };
    const made = { kind: 'file', mode: 0o644, rdev: 0, target: '', exclusive: false } as const;
    return (await this.#fileSystem.create(root, name, made, ROOT)).node;
  }

  /** Writes to the first file of the first volume. */
  async write(): Promise<Modelled> {
    const volume = this.volumes[0] as Modelled;
    await this.#write(volume, FILES[0]);
    return volume;
  }

  async #write(volume: Modelled, name = this.#one(FILES) as string): Promise<void> {
    const blocks = 1 + this.#random(WRITE_BLOCKS);
    const offset = BLOCK * this.#random(FILE_BLOCKS - blocks + 1);
    const bytes = Buffer.alloc(blocks * BLOCK, 1 + this.#random(255));
    const node = await this.#node(volume, name);
    const how = { append: false, killPrivileges: false };
    await this.#fileSystem.write(node, offset, bytes, how, ROOT);
    const before = volume.files.get(name) ?? Buffer.alloc(0);
    const after = Buffer.alloc(Math.max(before.length, offset + bytes.length));
    before.copy(after);
    bytes.copy(after, offset);
    volume.files.set(name, after);
  }

  async #cut(volume: Modelled): Promise<void> {
    const [name, bytes] = this.#one([...volume.files]) ?? [];
    if (name === undefined || bytes === undefined) return;
    const size = BLOCK * this.#random(bytes.length / BLOCK + 1);
    await this.#fileSystem.setAttributes(await this.#node(volume, name), { size }, ROOT);
    volume.files.set(name, bytes.subarray(0, size));
  }

  async #unlink(volume: Modelled): Promise<void> {
    const name = this.#one([...volume.files.keys()]);
    if (name === undefined) return;
    const root = { volume: volume.record.number, ino: ROOT_INODE };
    await this.#fileSystem.unlink(root, name, ROOT);
    volume.files.delete(name);
  }

  async #snapshot({ record, files, snapshots }: Modelled): Promise<void> {
    const name = `s${this.#names++}`;
    await this.#client.snapshots.create(record.name, name);
    snapshots.set(name, new Map(files));
  }

  /** Removes one of the snapshots; its space is to come back behind that. */
  async removeSnapshot({ record, snapshots }: Modelled): Promise<void> {
    const name = this.#one([...snapshots.keys()]);
    if (name === undefined) return;
    await this.#client.snapshots.remove(record.name, name);
    snapshots.delete(name);
  }

  async #clone(base: Modelled): Promise<void> {
    const [name, files] = this.#one([...base.snapshots]) ?? [];
    if (name === undefined || files === undefined || this.volumes.length >= VOLUMES_MAX) return;
    const from = `${base.record.name}@${name}`;
    const record = await this.#client.volumes.clone(`c${this.#names++}`, from);
    this.volumes.push({ record, base, files: new Map(files), snapshots: new Map() });
  }

  async #rollBack(volume: Modelled): Promise<void> {
    const [name, files] = this.#one([...volume.snapshots]) ?? [];
    if (name === undefined || files === undefined || this.#rollbacks++ >= ROLLBACKS_MAX) return;
    const { record, snapshots } = volume;
    const kept = await this.#client.snapshots.rollBack(record.name, name, { force: true });
    snapshots.set(kept.name, volume.files);
    volume.files = new Map(files);
  }

  /** Removes a volume, unless it is the first one or clones come from it. */
  async #remove(volume: Modelled): Promise<void> {
    const hasClones = this.volumes.some(({ base }) => base === volume);
    if (hasClones || volume.base === undefined) return;
    await this.#client.volumes.remove(volume.record.name, { force: true });
    this.volumes.splice(this.volumes.indexOf(volume), 1);
  }

  /** Removes everything. */
  async removeAll(): Promise<void> {
    for (const { record } of this.volumes.toReversed())
      await this.#client.volumes.remove(record.name, { force: true });
    this.volumes.length = 0;
  }

  /** Compares every byte of all volumes and snapshots with the model. */
  async compare(): Promise<void> {
    for (const { record, files, snapshots } of this.volumes) {
      await this.#compareTree({ volume: record.number, ino: ROOT_INODE }, files, record.name);
      for (const [name, then] of snapshots) {
        const all = { volume: record.number, ino: SNAPSHOTS_INODE };
        const { node } = await this.#fileSystem.lookup(all, name, ROOT);
        await this.#compareTree(node, then, `${record.name}@${name}`);
      }
    }
  }

  async #compareTree(root: NodeReference, files: Files, told: string): Promise<void> {
    for (const name of FILES) {
      const wanted = files.get(name);
      const found = await this.#read(root, name);
      expect(found === undefined ? undefined : found.length, `${told}: ${name}`).toBe(
        wanted?.length,
      );
      expect(wanted === undefined || found?.equals(wanted), `${told}: ${name}`).toBe(true);
    }
  }

  async #read(root: NodeReference, name: string): Promise<Buffer | undefined> {
    try {
      const { node, attributes } = await this.#fileSystem.lookup(root, name, ROOT);
      const pieces = await this.#fileSystem.read(node, 0, attributes.size, ROOT);
      return Buffer.concat(pieces);
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'ENOENT') return undefined;
      throw error;
    }
  }
}
