import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { waitFor } from './processes.ts';

/** Where the kernel's control groups are mounted. */
const CGROUP_ROOT = '/sys/fs/cgroup';

/**
 * The control groups of one host: all its processes and, below them, its containers, so that the
 * whole host can be stopped for a while. On version 1 that is a group in the freezer and memory
 * hierarchies; on version 2 one group with a leaf for the host's own processes, because there a
 * group with processes may not hand controllers to its children.
 */
export class HostCgroup {
  /** What the engine is told as its containers' parent, relative to /sys/fs/cgroup. */
  readonly parent: string;
  readonly #group: string;
  readonly #isVersion2 = existsSync(join(CGROUP_ROOT, 'cgroup.controllers'));

  /** `group` is relative to the root of each hierarchy, for example `/holdfast-lab-x/h1`. */
  constructor(group: string) {
    this.#group = group;
    this.parent = this.#isVersion2 ? `${group}/containers` : group;
  }

  /** The folders whose cgroup.procs a process writes itself into to belong to the host. */
  get joined(): string[] {
    if (this.#isVersion2) return [join(CGROUP_ROOT, this.#group, 'host')];
    return ['freezer', 'memory']
      .filter((name) => existsSync(join(CGROUP_ROOT, name)))
      .map((name) => join(CGROUP_ROOT, name, this.#group));
  }

  create(): void {
    for (const path of this.joined) mkdirSync(path, { recursive: true });
  }

  /**
   * Stops (true) or continues (false) every process of the host; returns when the kernel has done so,
   * or throws LabError after `patienceMs`: a process that waits for a FUSE daemon which is stopped
   * already cannot be stopped itself.
   */
  async freeze(frozen: boolean, patienceMs = 10_000): Promise<void> {
    const [file, wanted] = this.#isVersion2
      ? [join(CGROUP_ROOT, this.#group, 'cgroup.freeze'), frozen ? '1' : '0']
      : [join(CGROUP_ROOT, 'freezer', this.#group, 'freezer.state'), frozen ? 'FROZEN' : 'THAWED'];
    if (!existsSync(file)) return;
    // Version 1 stays FREEZING while a process waits in the kernel and must be told again.
    await waitFor(
      `${this.#group} to be ${wanted}`,
      () => {
        writeFileSync(file, wanted);
        return this.#isVersion2
          ? this.#frozenEvent() === wanted
          : readFileSync(file, 'utf8').trim() === wanted;
      },
      patienceMs,
    );
  }

  /** Bytes that the host and its containers use now; 0 when the kernel does not count them. */
  get memoryBytes(): number {
    const file = this.#isVersion2
      ? join(CGROUP_ROOT, this.#group, 'memory.current')
      : join(CGROUP_ROOT, 'memory', this.#group, 'memory.usage_in_bytes');
    return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
  }

  /** Removes the groups of a host that has ended, its containers' groups included. */
  async remove(): Promise<void> {
    for (const path of hierarchies().map((root) => join(root, this.#group))) {
      // The last processes leave their groups a moment after they have ended.
      await waitFor(`${path} to be empty`, () => removeTree(path), 10_000);
    }
  }

  #frozenEvent(): string | undefined {
    const events = readFileSync(join(CGROUP_ROOT, this.#group, 'cgroup.events'), 'utf8');
    return /^frozen (\d)$/m.exec(events)?.[1];
  }
}

/** Removes a lab's own group, which is empty once its hosts are gone. */
export function removeLabGroup(group: string): void {
  for (const root of hierarchies()) removeTree(join(root, group));
}

/** The mounted hierarchies: one per controller on version 1, the root itself on version 2. */
function hierarchies(): string[] {
  if (existsSync(join(CGROUP_ROOT, 'cgroup.controllers'))) return [CGROUP_ROOT];
  return readdirSync(CGROUP_ROOT).map((name) => join(CGROUP_ROOT, name));
}

/** Removes a group and those below it, deepest first; false while one still holds a process. */
function removeTree(path: string): boolean {
  if (!existsSync(path)) return true;
  const children = readdirSync(path, { withFileTypes: true }).filter((entry) =>
    entry.isDirectory(),
  );
  const emptied = children.map((entry) => removeTree(join(path, entry.name)));
  if (emptied.includes(false)) return false;
  try {
    rmdirSync(path);
    return true;
  } catch {
    return !existsSync(path);
  }
}
