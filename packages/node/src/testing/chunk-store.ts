import { Registry } from 'prom-client';
import { ChunkStore } from '../chunks/store.ts';

/** A store of small segments in a directory of a test, which may be nearly full. */
export function openTestStore(directory: string): Promise<ChunkStore> {
  const options = { registry: new Registry(), segmentBytes: 1 << 20, reserveBytes: 0 };
  return ChunkStore.open(directory, options);
}
