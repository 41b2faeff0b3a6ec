import {
  type Attributes,
  type InodeNumber,
  LIMITS,
  type Operation,
  type OperationAnswer,
} from '@holdfast/protocol';
import { type Name, type Touched, touchedBy } from './touched.ts';

/** Attributes, and names, that are kept of one volume; the longest unused is dropped first. */
const KEPT_MAX = 32_768;

/** A question under way; its answer is not kept when what it asks about is changed meanwhile. */
interface Look {
  isStale: boolean;
}

/** Changes of one thing that are under way. */
interface Busy {
  count: number;
  /** No two were under way at once, so the answer of the one is the newest state. */
  isAlone: boolean;
  /** Two changes of one name were: which inodes it stood for in between is not known. */
  isContended: boolean;
}

/** The inode under a name; 0: there is no such name. */
interface Entry {
  readonly parent: InodeNumber;
  readonly ino: InodeNumber | 0;
}

/**
 * What is believed of one volume's names and attributes. Only to be asked, and told, while the
 * volume's delegation is held; then all changes but this client's own are kept out, and those are
 * announced here: from before a change until after it nothing is believed of what it touches.
 */
export class Beliefs {
  readonly #attributes = new Map<InodeNumber, Attributes>();
  readonly #names = new Map<string, Entry>();
  /** Directories of which every name is known: made here, and followed since. */
  readonly #whole = new Set<InodeNumber>();
  readonly #busy = new Map<string, Busy>();
  readonly #looks = new Map<string, Set<Look>>();
  /** Changes under way that may touch anything. */
  #sweeping = 0;
  /** Counts changes as they begin. */
  #changes = 0;
  /** Creations under way, and what was touched since the first of them began. */
  #creating = 0;
  readonly #touchedMeanwhile = new Set<InodeNumber>();

  /** What is known of an inode. */
  attributes(ino: InodeNumber): Attributes | undefined {
    const found = this.#isBusy(inodeKey(ino)) ? undefined : this.#attributes.get(ino);
    if (found === undefined) return undefined;
    this.#attributes.delete(ino);
    this.#attributes.set(ino, found);
    return found;
  }

  /** The inode under a name; 0: it is known that there is none. */
  inodeAt(name: Name): InodeNumber | 0 | undefined {
    const key = nameKey(name);
    if (this.#isBusy(key)) return undefined;
    const entry = this.#names.get(key);
    if (entry === undefined) {
      // Longer names are refused, which is not for us to say.
      const isWhole = this.#whole.has(name.parent) && name.name.length <= LIMITS.nameBytesMax;
      return isWhole ? 0 : undefined;
    }
    this.#names.delete(key);
    this.#names.set(key, entry);
    return entry.ino;
  }

  #isBusy(key: string): boolean {
    return this.#sweeping > 0 || this.#busy.has(key);
  }

  /** Asks for what is under a name; undefined: nothing is. `mayKeep` says whether to believe it. */
  async lookUp(
    name: Name,
    ask: () => Promise<Attributes | undefined>,
    mayKeep: () => boolean,
  ): Promise<Attributes | undefined> {
    const isQuiet = this.#quiet();
    return this.#look(nameKey(name), ask, (found) => {
      if (!mayKeep()) return;
      this.#keepName(name, found?.ino ?? 0);
      // Which inode it would be was not known, so that no change of it could be told apart.
      if (found !== undefined && isQuiet()) this.#keepInode(found);
    });
  }

  /** Asks for an inode's attributes. */
  async lookAt(
    ino: InodeNumber,
    ask: () => Promise<Attributes>,
    mayKeep: () => boolean,
  ): Promise<Attributes> {
    return this.#look(inodeKey(ino), ask, (found) => {
      if (mayKeep()) this.#keepInode(found);
    });
  }

  /** Asks for many at once; kept only when nothing at all has changed meanwhile. */
  async lookAround<T>(
    ask: () => Promise<T>,
    found: (answer: T) => Iterable<readonly [Name, Attributes]>,
    mayKeep: () => boolean,
  ): Promise<T> {
    const isQuiet = this.#quiet();
    const answer = await ask();
    if (isQuiet() && mayKeep()) {
      for (const [name, attributes] of found(answer)) {
        this.#keepName(name, attributes.ino);
        this.#keepInode(attributes);
      }
    }
    return answer;
  }

  /** Tells, when asked later, whether nothing at all was being changed from now until then. */
  #quiet(): () => boolean {
    const changes = this.#changes;
    const wasQuiet = this.#busy.size === 0 && this.#sweeping === 0;
    return () => wasQuiet && changes === this.#changes;
  }

  async #look<T>(key: string, ask: () => Promise<T>, keep: (answer: T) => void): Promise<T> {
    const look: Look = { isStale: this.#isBusy(key) };
    const others = this.#looks.get(key) ?? new Set();
    this.#looks.set(key, others.add(look));
    try {
      const answer = await ask();
      if (!look.isStale) keep(answer);
      return answer;
    } finally {
      others.delete(look);
      if (others.size === 0) this.#looks.delete(key);
    }
  }

  /** Does a change. `mayKeep` says, once it is done, whether its answer may be believed. */
  async change(
    operation: Operation,
    act: () => Promise<OperationAnswer>,
    mayKeep: () => boolean,
  ): Promise<OperationAnswer> {
    this.#changes += 1;
    const touched = touchedBy(operation, (name) => this.inodeAt(name));
    if (touched === undefined) return this.#sweep(act);
    const keys = [...touched.inos.map(inodeKey), ...touched.names.map(nameKey)];
    for (const ino of touched.inos) this.#begin(inodeKey(ino));
    for (const name of touched.names) this.#beginName(nameKey(name));
    for (const ino of touched.inos) this.#attributes.delete(ino);
    for (const name of touched.names) this.#names.delete(nameKey(name));
    if (operation.op === 'create') this.#creating += 1;
    if (this.#creating > 0) for (const ino of touched.inos) this.#touchedMeanwhile.add(ino);
    let answer: OperationAnswer | undefined;
    try {
      answer = await act();
      return answer;
    } finally {
      const alone = new Set(keys.filter((key) => this.#end(key)));
      if (answer !== undefined && mayKeep()) this.#learn(operation, answer, alone);
      this.#dropUnknown(touched);
      if (operation.op === 'create' && --this.#creating === 0) this.#touchedMeanwhile.clear();
    }
  }

  /** A change of which it is not known what it touches: nothing is believed from before until after. */
  async #sweep(act: () => Promise<OperationAnswer>): Promise<OperationAnswer> {
    this.#sweeping += 1;
    this.forget();
    try {
      return await act();
    } finally {
      this.#sweeping -= 1;
      this.forget();
    }
  }

  #begin(key: string): void {
    const busy = this.#busy.get(key);
    if (busy === undefined) {
      const isAlone = this.#sweeping === 0;
      this.#busy.set(key, { count: 1, isAlone, isContended: false });
    } else {
      busy.count += 1;
      busy.isAlone = false;
    }
    for (const look of this.#looks.get(key) ?? []) look.isStale = true;
  }

  #beginName(key: string): void {
    this.#begin(key);
    const busy = this.#busy.get(key);
    if (busy === undefined || busy.count === 1 || busy.isContended) return;
    busy.isContended = true;
    this.#sweeping += 1;
    this.forget();
  }

  /** Whether the change that ends was the only one of late. */
  #end(key: string): boolean {
    const busy = this.#busy.get(key);
    if (busy === undefined) return false;
    busy.count -= 1;
    if (busy.count > 0) return false;
    this.#busy.delete(key);
    if (busy.isContended) {
      this.#sweeping -= 1;
      this.forget();
    }
    return busy.isAlone && this.#sweeping === 0;
  }

  #learn(operation: Operation, answer: OperationAnswer, alone: ReadonlySet<string>): void {
    const { attributes, replaced, directories = [] } = answer;
    for (const one of [...directories, attributes, replaced]) {
      if (one === undefined) continue;
      const isNew =
        operation.op === 'create' &&
        answer.created === true &&
        one === attributes &&
        alone.has(nameKey(operation)) &&
        !this.#touchedMeanwhile.has(one.ino); // someone found and changed it before we were told
      if (isNew || alone.has(inodeKey(one.ino))) this.#keepInode(one);
      if (isNew && one.kind === 'directory') this.#whole.add(one.ino);
    }
    for (const [name, ino] of namesAfter(operation, answer)) {
      if (alone.has(nameKey(name))) this.#keepName(name, ino);
    }
  }

  /** A directory with a name of which it is not known whether it is there is not whole any more. */
  #dropUnknown({ names }: Touched): void {
    for (const name of names) {
      if (!this.#names.has(nameKey(name))) this.#whole.delete(name.parent);
    }
  }

  #keepInode(attributes: Attributes): void {
    const { ino, kind, nlink } = attributes;
    this.#attributes.delete(ino);
    if (kind === 'directory' && nlink === 0) this.#whole.delete(ino);
    this.#attributes.set(ino, attributes);
    for (const oldest of this.#attributes.keys()) {
      if (this.#attributes.size <= KEPT_MAX) break;
      this.#attributes.delete(oldest);
    }
  }

  #keepName(name: Name, ino: InodeNumber | 0): void {
    const key = nameKey(name);
    this.#names.delete(key);
    this.#names.set(key, { parent: name.parent, ino });
    for (const [oldest, { parent }] of this.#names) {
      if (this.#names.size <= KEPT_MAX) break;
      this.#names.delete(oldest);
      this.#whole.delete(parent);
    }
  }

  /** Forgets everything, and what is being asked will not be believed either. */
  forget(): void {
    this.#attributes.clear();
    this.#names.clear();
    this.#whole.clear();
    for (const looks of this.#looks.values()) for (const look of looks) look.isStale = true;
    for (const busy of this.#busy.values()) busy.isAlone = false;
    this.#changes += 1;
  }
}

/** What the names of an operation that succeeded stand for now. */
function namesAfter(
  operation: Operation,
  { attributes, replaced }: OperationAnswer,
): readonly (readonly [Name, InodeNumber | 0])[] {
  if (attributes === undefined) return [];
  switch (operation.op) {
    case 'create':
    case 'link':
      return [[operation, attributes.ino]];
    case 'unlink':
    case 'rmdir':
      return [[operation, 0]];
    case 'rename': {
      const to = { parent: operation.newParent, name: operation.newName };
      // Two names of one inode both stay.
      const isSame = replaced?.ino === attributes.ino;
      const left = isSame || operation.flag === 'exchange' ? (replaced?.ino ?? 0) : 0;
      return [
        [operation, left],
        [to, attributes.ino],
      ];
    }
    default:
      return [];
  }
}

function inodeKey(ino: InodeNumber): string {
  return String(ino);
}

function nameKey({ parent, name }: Name): string {
  return `${parent}/${name}`;
}
