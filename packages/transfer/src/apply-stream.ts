/** Frames carried out in a volume: in an empty directory, or in one that is as the base was. */
import {
  type FileKind,
  type FileSystem,
  HoldfastError,
  LIMITS,
  type NodeAnswer,
  type NodeReference,
  RECEIVING_NAME,
  ROOT_INODE,
} from '@holdfast/protocol';
import { type AttributeProblem, isBare, StageFiles, VolumeDoor } from '@holdfast/tree';
import { damaged } from './fields.ts';
import type { Finish, Frame } from './frames.ts';
import type { StreamPosition } from './header.ts';
import { STREAM_LIMITS } from './limits.ts';
import { Window } from './window.ts';

/** Where a stream is carried out. */
export interface ApplyTarget {
  readonly fileSystem: FileSystem;
  /** What stands for the root of the stream. */
  readonly root: NodeReference;
  /** What gets the attributes of the stream's root; the root itself by default. */
  readonly attributesOfRoot?: NodeReference;
  /** A directory for what is kept aside: {@link makeHold}. Of an incremental stream. */
  readonly hold?: NodeReference;
  /** Of a full stream that goes on: what it makes may be there. */
  readonly isResumed?: boolean;
  /** Of a full stream: told how far everything is stored, each time when so many bytes of files were. */
  readonly checkpoint?: {
    readonly bytes: number;
    readonly note: (position: StreamPosition) => Promise<void>;
  };
  readonly onAttributeProblem: AttributeProblem;
  readonly signal?: AbortSignal;
}

/**
 * Makes the directory that shows that a volume is neither what it was nor what it is to be; the last step of
 * {@link applyStream} removes it. EEXIST when there is one.
 */
export async function makeHold(
  fileSystem: FileSystem,
  root: NodeReference,
): Promise<NodeReference> {
  const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
  const made = { kind: 'directory', mode: 0o700, rdev: 0, target: '', exclusive: true } as const;
  return (await fileSystem.create(root, RECEIVING_NAME, made, context)).node;
}

/** An inode that was found, or made. */
type Found = Pick<NodeAnswer, 'node' | 'attributes'>;

/** An inode that frames have named. */
class Inode {
  readonly node: Promise<NodeReference>;
  readonly kind: FileKind;
  readonly isNew: boolean;
  /** Whether it was made just now, and took over no ACL of its directory: it has no attributes to drop. */
  readonly isBare: Promise<boolean>;
  /** The length it was given; what follows waits for that. */
  sized: Promise<unknown> = Promise.resolve();
  /** Resolves when all that was begun with it is done. */
  #done: Promise<unknown> = Promise.resolve();

  constructor(found: Promise<Found>, kind: FileKind, isNew: boolean) {
    this.node = found.then(({ node }) => node);
    this.isBare = found.then(({ attributes }) => isNew && isBare(attributes));
    for (const promise of [this.node, this.isBare]) promise.catch(() => {});
    this.kind = kind;
    this.isNew = isNew;
  }

  get done(): Promise<unknown> {
    return this.#done;
  }

  add(step: Promise<unknown>): void {
    this.#done = Promise.all([this.#done, step]).then(() => {});
    this.#done.catch(() => {});
  }
}

/** Bytes that lie one behind the other and are written at once. */
interface Gathered {
  readonly id: number;
  readonly offset: number;
  readonly parts: Uint8Array[];
  length: number;
}

type Of<Name extends Frame['frame']> = Extract<Frame, { frame: Name }>;

class Application {
  readonly #target: ApplyTarget;
  readonly #door: VolumeDoor;
  readonly #window = new Window();
  readonly #inodes = new Map<number, Inode>();
  #gathered: Gathered | undefined;
  #root: Finish | undefined;
  #isLocating = false;
  #isLosing = false;
  #finished = 0;
  /** Bytes of files since the last checkpoint. */
  #unnoted = 0;

  constructor(target: ApplyTarget) {
    this.#target = target;
    const { fileSystem, onAttributeProblem: problem, signal } = target;
    this.#door = new VolumeDoor(fileSystem, { problem, signal });
    const root = fileSystem.getAttributes(target.root, this.#door.context());
    this.#inodes.set(ROOT_INODE, new Inode(root, 'directory', false));
  }

  async frame(frame: Frame): Promise<void> {
    await this.#carryOut(frame);
    const { checkpoint } = this.#target;
    if (frame.frame === 'finish') this.#finished += 1;
    if (frame.frame !== 'data' || checkpoint === undefined) return;
    this.#unnoted += frame.bytes.length;
    if (this.#unnoted < checkpoint.bytes) return;
    this.#unnoted = 0;
    await this.#write();
    await this.#window.idle();
    const offset = frame.offset + frame.bytes.length;
    await checkpoint.note({ inodes: this.#finished, offset });
  }

  async #carryOut(frame: Frame): Promise<void> {
    this.#target.signal?.throwIfAborted();
    if (frame.frame === 'data') return this.#data(frame);
    await this.#write();
    await this.#separate(frame.frame);
    switch (frame.frame) {
      case 'begin':
        return;
      case 'locate':
        return this.#locate(frame);
      case 'unlink':
        return this.#unlink(frame);
      case 'hold':
        return this.#hold(frame);
      case 'make':
        return this.#make(frame);
      case 'place':
        return this.#place(frame);
      case 'link':
        return this.#link(frame);
      case 'size':
        return this.#size(frame);
      case 'hole':
        return this.#hole(frame);
      case 'finish':
        return this.#finish(frame);
    }
  }

  /** Everything was given: waits for it, then clears up and sets the root's attributes. */
  async end(): Promise<void> {
    await this.#write();
    await this.#window.idle();
    const { fileSystem, root, attributesOfRoot = root, hold } = this.#target;
    if (this.#root === undefined) throw damaged('it does not tell what the root is');
    if (hold !== undefined) {
      const files = new StageFiles(fileSystem, root);
      const found = await fileSystem.getAttributes(hold, this.#door.context());
      await files.remove(root, { ...found, name: RECEIVING_NAME, cookie: 0 });
    }
    const entry = { ...this.#root, name: '', kind: 'directory', rdev: 0n, target: '' } as const;
    await this.#door.finish(attributesOfRoot, entry, { isBare: false });
  }

  /** Resolves when nothing is under way any more. */
  settled(): Promise<void> {
    return this.#window.settled();
  }

  /** Each part of a stream begins when the one before it is done. */
  async #separate(frame: Frame['frame']): Promise<void> {
    const isLocating = frame === 'locate';
    const isLosing = frame === 'unlink' || frame === 'hold';
    if ((this.#isLocating && !isLocating) || (this.#isLosing && !isLosing))
      await this.#window.idle();
    this.#isLocating = isLocating;
    this.#isLosing = isLosing;
  }

  #inode(id: number): Inode {
    const inode = this.#inodes.get(id);
    if (inode === undefined) throw damaged(`it names inode ${id} and does not say what it is`);
    return inode;
  }

  #directory(id: number): Inode {
    const inode = this.#inode(id);
    if (inode.kind !== 'directory') throw damaged(`it puts names into inode ${id}, no directory`);
    return inode;
  }

  #file(id: number): Inode {
    const inode = this.#inode(id);
    if (inode.kind !== 'file') throw damaged(`it puts bytes into inode ${id}, no file`);
    return inode;
  }

  #add(id: number, inode: Inode): void {
    if (this.#inodes.has(id)) throw damaged(`it describes inode ${id} twice`);
    if (this.#inodes.size >= STREAM_LIMITS.idsMax)
      throw new HoldfastError('TOO_LARGE', 'the stream is about more inodes than are kept in mind');
    this.#inodes.set(id, inode);
  }

  async #locate({ id, parent, name, kind }: Of<'locate'>): Promise<void> {
    const directory = this.#directory(parent).node;
    const [located] = await this.#window.begin({ after: [directory] }, async () => {
      const found = await this.#door.look(await directory, name);
      if (found?.attributes.kind === kind) return found;
      throw new HoldfastError(
        'CONFLICT',
        `the volume is not as the snapshot that the stream is based on: it has no ${kind} where that has ${shown(name)}`,
      );
    });
    this.#add(id, new Inode(located!, kind, false));
  }

  async #unlink({ parent, name }: Of<'unlink'>): Promise<void> {
    const directory = this.#directory(parent);
    const [step] = await this.#window.begin({ after: [directory.node] }, async () =>
      this.#target.fileSystem.unlink(await directory.node, name, this.#door.context()),
    );
    directory.add(step!);
  }

  async #hold({ id, parent, name }: Of<'hold'>): Promise<void> {
    this.#inode(id);
    await this.#move(this.#directory(parent), async (from) => ({
      from: { parent: from, name },
      to: { parent: this.#holdNode(), name: String(id) },
    }));
  }

  async #place({ id, parent, name }: Of<'place'>): Promise<void> {
    this.#inode(id);
    await this.#move(this.#directory(parent), async (to) => ({
      from: { parent: this.#holdNode(), name: String(id) },
      to: { parent: to, name },
    }));
  }

  async #move(
    directory: Inode,
    names: (node: NodeReference) => Promise<{
      from: { parent: NodeReference; name: string };
      to: { parent: NodeReference; name: string };
    }>,
  ): Promise<void> {
    const [step] = await this.#window.begin({ after: [directory.node] }, async () => {
      const { from, to } = await names(await directory.node);
      await this.#target.fileSystem.rename(from, to, 'noreplace', this.#door.context());
    });
    directory.add(step!);
  }

  #holdNode(): NodeReference {
    const { hold } = this.#target;
    if (hold === undefined) throw damaged('it keeps something aside that was never there');
    return hold;
  }

  async #make({ id, parent, name, kind, rdev, target }: Of<'make'>): Promise<void> {
    const directory = this.#directory(parent);
    const mode = kind === 'directory' ? 0o700 : kind === 'symlink' ? 0o777 : 0o600;
    const options = { kind, mode, rdev: Number(rdev), target, exclusive: true };
    const [made] = await this.#window.begin({ after: [directory.node] }, async () => {
      const { fileSystem } = this.#target;
      const parentNode = await directory.node;
      const found = this.#target.isResumed ? await this.#door.look(parentNode, name) : undefined;
      if (found?.attributes.kind === kind) return found;
      return fileSystem.create(parentNode, name, options, this.#door.context());
    });
    directory.add(made!);
    this.#add(id, new Inode(made!, kind, !this.#target.isResumed));
  }

  async #link({ id, parent, name, isLast }: Of<'link'>): Promise<void> {
    const [directory, inode] = [this.#directory(parent), this.#inode(id)];
    const after = [directory.node, inode.node];
    const [step] = await this.#window.begin({ after }, async () => {
      const [to, node] = [await directory.node, await inode.node];
      const found = this.#target.isResumed ? await this.#door.look(to, name) : undefined;
      if (found?.node.ino === node.ino) return;
      await this.#target.fileSystem.link(node, to, name, this.#door.context());
    });
    directory.add(step!);
    if (isLast) this.#inodes.delete(id);
  }

  async #size({ id, size }: Of<'size'>): Promise<void> {
    const inode = this.#file(id);
    const [step] = await this.#window.begin({ after: [inode.node] }, async () => {
      await this.#target.fileSystem.setAttributes(await inode.node, { size }, this.#door.context());
    });
    inode.sized = step!;
    inode.add(step!);
  }

  /** Gathers what lies one behind the other into writes of whole chunks. */
  async #data({ id, offset, bytes }: Of<'data'>): Promise<void> {
    this.#file(id);
    const gathered = this.#gathered;
    const goesOn = gathered?.id === id && gathered.offset + gathered.length === offset;
    if (!goesOn || gathered.length + bytes.length > STREAM_LIMITS.writeBytes) {
      await this.#write();
      this.#gathered = { id, offset, parts: [bytes], length: bytes.length };
      return;
    }
    gathered.parts.push(bytes);
    gathered.length += bytes.length;
  }

  async #write(): Promise<void> {
    const gathered = this.#gathered;
    if (gathered === undefined) return;
    this.#gathered = undefined;
    const { id, offset, parts, length } = gathered;
    const inode = this.#file(id);
    const after = [inode.node, inode.sized];
    const options = { append: false, killPrivileges: false };
    const [step] = await this.#window.begin({ bytes: length, after }, async () => {
      const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
      const node = await inode.node;
      await this.#target.fileSystem.write(node, offset, bytes, options, this.#door.context());
    });
    inode.add(step!);
  }

  async #hole({ id, offset, length }: Of<'hole'>): Promise<void> {
    const inode = this.#file(id);
    const after = [inode.node, inode.sized];
    const options = { mode: 'punch', keepSize: true, offset, length } as const;
    const [step] = await this.#window.begin({ after }, async () =>
      this.#target.fileSystem.allocate(await inode.node, options, this.#door.context()),
    );
    inode.add(step!);
  }

  async #finish(finish: Of<'finish'>): Promise<void> {
    const { id } = finish;
    const inode = this.#inode(id);
    if (id === ROOT_INODE) {
      if (this.#root !== undefined) throw damaged('it tells twice what the root is');
      this.#root = finish;
      return;
    }
    const { kind, isNew } = inode;
    const entry = { ...finish, name: `inode ${id}`, kind, rdev: 0n, target: '' };
    const isWhole = isNew || this.#target.isResumed; // then all that it holds came as bytes from the front
    const size = isWhole && kind === 'file' ? { size: finish.size } : {};
    const after = [inode.node, inode.done];
    const [step] = await this.#window.begin({ after }, async () =>
      this.#door.finish(await inode.node, entry, { isBare: await inode.isBare, ...size }),
    );
    inode.add(step!);
    if (!finish.isKept) this.#inodes.delete(id);
  }
}

function shown(name: string): string {
  return JSON.stringify(Buffer.from(name, 'latin1').toString('utf8').slice(0, LIMITS.nameBytesMax));
}

/**
 * Carries the frames out. What fails leaves what was done by then: the caller goes back to what was before.
 * CORRUPT, CONFLICT when the volume is not as the base, TOO_LARGE, and what the file system refuses.
 * Memory: what is under way (STREAM_LIMITS), and a number for each inode that is named later.
 */
export async function applyStream(
  target: ApplyTarget,
  frames: AsyncIterable<Frame>,
): Promise<void> {
  const application = new Application(target);
  try {
    for await (const frame of frames) await application.frame(frame);
    await application.end();
  } catch (error) {
    await application.settled();
    throw error;
  }
}
