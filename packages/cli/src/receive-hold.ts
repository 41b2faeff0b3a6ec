/**
 * What makes a receive recoverable. Before anything is changed a snapshot is taken, `holdfast-receive-`, the
 * generation of the base (0: none), and random digits; its origin is what is to be received. It goes with the
 * end of the receive. Who finds one and nobody at work knows that a receive was killed: then what the volume
 * shows counts for nothing, and it goes back. Whether someone is at work is told by a lock on the volume's root.
 */
import { randomBytes } from 'node:crypto';
import type { ClusterClient } from '@holdfast/client';
import {
  HoldfastError,
  RECEIVE_SNAPSHOTS,
  RECEIVES_AT,
  type Snapshot,
  type VolumeRecord,
} from '@holdfast/protocol';
import { presentOf, setLock } from './backup-hold.ts';

const FORM = /^holdfast-receive-(\d+)-[0-9a-f]{10}$/;

/** A receive into a volume that nobody else is at. */
export class ReceiveHold {
  readonly #client: ClusterClient;
  readonly #volume: VolumeRecord;

  constructor(client: ClusterClient, volume: VolumeRecord) {
    this.#client = client;
    this.#volume = volume;
  }

  /** Takes the snapshot to go back to. */
  async mark(base: Snapshot | undefined, origin: string): Promise<Snapshot> {
    const name = `${RECEIVE_SNAPSHOTS}${base?.generation ?? 0}-${randomBytes(5).toString('hex')}`;
    return this.#client.snapshots.create(this.#volume.name, name, { origin, byFiller: true });
  }

  /** The receive is done, or it never changed anything. */
  async unmark(mark: Snapshot): Promise<void> {
    await this.#client.snapshots.remove(this.#volume.name, mark.name);
  }

  /**
   * Shows the volume as it was before a receive. It goes back to the base where it can: going back to the
   * same snapshot again and again costs no depth. EINVAL, ENOSPC when it was rolled back too often.
   */
  async undo(mark: Snapshot): Promise<void> {
    const all = await this.#client.snapshots.list(this.#volume.name);
    const base = Number(FORM.exec(mark.name)?.[1]);
    const to = all.find(({ generation }) => generation === base) ?? mark;
    const { name: kept } = await this.goBack(to.name, true);
    // Half of something: of no use to anybody.
    await this.#client.snapshots.remove(this.#volume.name, kept);
    await this.unmark(mark);
  }

  /** Rolls the volume back; answers what keeps the state until now. CONFLICT while hosts use it and it is not forced. */
  async goBack(name: string, force: boolean): Promise<Snapshot> {
    const kept = await this.#client.snapshots.rollBack(this.#volume.name, name, {
      force,
      byFiller: true,
    });
    const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
    // The session hears of the rollback by a look, and may change the volume from then on.
    await this.#client.fileSystem().getAttributes(presentOf(this.#volume), context);
    return kept;
  }

  /** Puts the volume back, or ends what is done, where an earlier receive was killed. */
  async recover(): Promise<void> {
    const all = await this.#client.snapshots.list(this.#volume.name);
    for (const mark of all.filter(({ name }) => FORM.test(name))) {
      const isDone = all.some(({ name, origin }) => origin === mark.origin && name !== mark.name);
      if (isDone) await this.unmark(mark);
      else await this.undo(mark);
    }
  }
}

/** Whether a snapshot is one to go back to, and no content that was received. */
export function isReceiveMark({ name }: Snapshot): boolean {
  return FORM.test(name);
}

/** Runs a receive with nobody else at one into the same volume. CONFLICT. */
export async function withReceiveHold<T>(
  client: ClusterClient,
  volume: VolumeRecord,
  task: (hold: ReceiveHold) => Promise<T>,
): Promise<T> {
  const fileSystem = client.fileSystem();
  const root = presentOf(volume);
  await setLock(fileSystem, root, { start: RECEIVES_AT, type: 'write' }).catch((error: unknown) => {
    if (!(error instanceof HoldfastError) || error.code !== 'EAGAIN') throw error;
    throw new HoldfastError(
      'CONFLICT',
      `somebody else receives into volume '${volume.name}'; one who died is noticed after 10 seconds`,
      { cause: error },
    );
  });
  try {
    return await task(new ReceiveHold(client, volume));
  } finally {
    await setLock(fileSystem, root, { start: RECEIVES_AT, type: 'unlock' }).catch(() => {});
  }
}
