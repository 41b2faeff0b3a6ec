import type { FileSystem, VolumeNumber } from '@holdfast/protocol';
import type { Session } from '../../session/session.ts';
import type { Volumes } from '../../volumes.ts';
import { FileData, type FileDataOptions } from '../file-data.ts';
import { BrowsableFileSystem } from './browsable-file-system.ts';
import { SnapshotList } from './snapshot-list.ts';
import type { SnapshotNumbers } from './snapshot-numbers.ts';
import { SnapshotTrees } from './snapshot-trees.ts';
import { SnapshotViews } from './snapshot-views.ts';

/** What {@link withSnapshots} works with. */
export interface WithSnapshotsOptions extends Pick<FileDataOptions, 'sink' | 'source'> {
  /** The present of the volumes. */
  readonly live: FileSystem;
  readonly session: Pick<Session, 'view'>;
  readonly volumes: Pick<Volumes, 'byNumber'>;
  readonly numbers: SnapshotNumbers;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
}

/** The namespace with `.snapshots` in the root of each volume. */
export function withSnapshots(options: WithSnapshotsOptions): FileSystem {
  const { live, session, volumes, numbers, sink, source, nowMs } = options;
  const views = new SnapshotViews({ session, volumes, numbers, nowMs });
  const isHeld = (number: VolumeNumber): boolean => views.isTrusted(number);
  const data = new FileData({ session: views, sink, source, isHeld });
  return new BrowsableFileSystem({
    live,
    list: new SnapshotList({ session, volumes, numbers, views, live }),
    trees: new SnapshotTrees({ views, numbers, data }),
  });
}
