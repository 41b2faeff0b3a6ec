import { lstat, open, opendir, readFile, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { HoldfastError, RECEIVING_NAME, STAGE_AMONG, STAGE_PREFIX } from '@holdfast/protocol';
import { Turns } from './turns.ts';

/** linux/magic.h FUSE_SUPER_MAGIC, as statfs(2) tells it. */
const FUSE_SUPER_MAGIC = 0x65735546;

/** Milliseconds that the mounted file system has for one answer. */
const ANSWER_MS = 5_000;

/** Questions, and flushes, in flight: a mount that hangs must not take all threads of the process. */
const QUESTIONS_MAX = 2;
const FLUSHES_MAX = 1;
/** One line of /proc/PID/mountinfo, proc(5). */
export interface MountEntry {
  /** major:minor */
  readonly device: string;
  /** The folder of the file system that is mounted. */
  readonly root: string;
  readonly mountPoint: string;
  readonly type: string;
}

/** Parses a mountinfo file; blanks and the like are written there as \\040 (octal). */
export function parseMountinfo(text: string): MountEntry[] {
  const plain = (field: string): string => {
    return field.replace(/\\([0-7]{3})/g, (_, octal: string) => {
      return String.fromCharCode(Number.parseInt(octal, 8));
    });
  };
  return text.split('\n').flatMap((line) => {
    const [head = '', tail = ''] = line.split(' - ');
    const [, , device, root, mountPoint] = head.split(' ');
    const [type] = tail.split(' ');
    if (device === undefined || root === undefined || mountPoint === undefined || !type) return [];
    return [{ device, root: plain(root), mountPoint: plain(mountPoint), type }];
  });
}

/** The place where the cluster's volumes are folders, by default /mnt/cluster. */
export class MountRoot {
  readonly path: string;
  readonly #questions = new Turns(QUESTIONS_MAX);
  readonly #flushes = new Turns(FLUSHES_MAX);

  constructor(path: string) {
    this.path = path;
  }

  /** Where the volume is when the file system is mounted. */
  mountpointOf(volume: string): string {
    return join(this.path, volume);
  }

  /** The uppermost mount at the root, as this process sees it; undefined when there is none. */
  async entry(): Promise<MountEntry | undefined> {
    const entries = parseMountinfo(await readFile('/proc/self/mountinfo', 'utf8'));
    return entries.findLast(({ mountPoint }) => mountPoint === this.path);
  }

  /**
   * The volume's folder, only when it really is one of the live mount. A container that got the bare
   * folder below a missing mount would write to this host's own disk and lose it. UNREACHABLE when
   * there is no live mount, DEADLINE when it does not answer, ENOENT without the folder, CONFLICT while
   * the volume is half filled.
   */
  async requireFolder(volume: string): Promise<string> {
    const folder = this.mountpointOf(volume);
    await this.#questions.take(
      `the mount at ${this.path} (is its process alive?)`,
      ANSWER_MS,
      async () => {
        await this.#requireLive();
        const found = await stat(folder).catch((cause: unknown) => refuse(folder, cause));
        if (!found.isDirectory())
          throw new HoldfastError('ENOTDIR', `${folder} is not a directory`);
        await refuseHalf(volume, folder);
      },
    );
    return folder;
  }

  /** Stores what was written to the volume through this mount, as far as it is not stored yet. DEADLINE after `limitMs`. */
  async flush(volume: string, limitMs: number): Promise<void> {
    await this.#flushes.take(`flushing volume '${volume}'`, limitMs, async () => {
      const folder = await open(this.mountpointOf(volume), 'r').catch((cause: unknown) => {
        return refuse(this.mountpointOf(volume), cause);
      });
      try {
        await folder.sync();
      } finally {
        await folder.close();
      }
    });
  }

  async #requireLive(): Promise<void> {
    const entry = await this.entry();
    if (entry === undefined || !entry.type.startsWith('fuse')) {
      const found = entry === undefined ? 'nothing is' : `a ${entry.type} file system is`;
      const advice = "is 'holdfast run' running?";
      throw new HoldfastError('UNREACHABLE', `${found} mounted at ${this.path}: ${advice}`);
    }
    const [system, own, parent] = await Promise.all([
      statfs(this.path).catch((cause: unknown) => refuse(this.path, cause)),
      stat(this.path).catch((cause: unknown) => refuse(this.path, cause)),
      stat(dirname(this.path)),
    ]);
    if (system.type !== FUSE_SUPER_MAGIC || own.dev === parent.dev) {
      throw new HoldfastError('UNREACHABLE', `${this.path} is not the cluster's mount`);
    }
  }
}

/** What a volume shows while it receives is neither what was before nor what is to be. */
async function refuseHalf(volume: string, folder: string): Promise<void> {
  const isHalf = await lstat(join(folder, RECEIVING_NAME)).then(
    () => true,
    () => false,
  );
  if (!isHalf) return refuseStage(volume, folder);
  throw new HoldfastError(
    'CONFLICT',
    `volume '${volume}' is receiving a change, or a receive into it was killed: run 'holdfast volume receive' again, or roll it back to its last snapshot`,
  );
}

/** A stage is older than all that lies beside it: the first entries tell. */
async function refuseStage(volume: string, folder: string): Promise<void> {
  const directory = await opendir(folder).catch((cause: unknown) => refuse(folder, cause));
  let stage: string | undefined;
  try {
    for (let entries = 0; entries < STAGE_AMONG && stage === undefined; entries++) {
      const entry = await directory.read();
      if (entry === null) break;
      if (entry.name.startsWith(STAGE_PREFIX)) stage = entry.name;
    }
  } finally {
    await directory.close();
  }
  if (stage === undefined) return;
  throw new HoldfastError(
    'CONFLICT',
    `volume '${volume}' is being filled by an import, a restore or a receive; try again when that has ended. If it was killed do it again, or remove '${stage}' from the volume's root`,
  );
}

function refuse(path: string, cause: unknown): never {
  const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
  if (code === 'ENOENT') throw new HoldfastError('ENOENT', `no ${path}`, { cause });
  throw new HoldfastError('UNREACHABLE', `${path} does not answer: ${code}`, { cause });
}
