/** The newest cluster map that this peer has heard of, from whichever side. */
import { join } from 'node:path';
import type { ClusterMap, NodeNumber, NodeRecord } from '@holdfast/protocol';
import { DATA_NAMES } from './data-directory.ts';
import { readIfPresent, writeDurably } from './durable-files.ts';

/** Told of every newer map. */
export type MapListener = (map: ClusterMap) => void;

/**
 * Holds the map in memory and, behind, in map.json: that file is what a peer or a client on this
 * host starts from when it must find the others.
 */
export class MapCache {
  readonly #path: string;
  #map: ClusterMap | undefined;
  #revoked: ReadonlySet<string> = new Set();
  #writing: Promise<void> | undefined;
  readonly #listeners = new Set<MapListener>();
  readonly #onWriteError: (error: unknown) => void;

  private constructor(
    path: string,
    map: ClusterMap | undefined,
    onWriteError: (error: unknown) => void,
  ) {
    this.#path = path;
    this.#onWriteError = onWriteError;
    this.#take(map);
  }

  /** Starts from the file; a damaged one counts as none, since peers have newer maps anyway. */
  static async open(
    dataDirectory: string,
    onWriteError: (error: unknown) => void,
  ): Promise<MapCache> {
    const path = join(dataDirectory, DATA_NAMES.map);
    return new MapCache(path, await readMap(path), onWriteError);
  }

  get current(): ClusterMap | undefined {
    return this.#map;
  }

  node(number: NodeNumber): NodeRecord | undefined {
    return this.#map?.nodes.find((node) => node.number === number);
  }

  /** Whether a certificate was revoked, as far as this peer knows. */
  isRevoked(serial: string): boolean {
    return this.#revoked.has(serial);
  }

  /** Takes the map if it is newer. */
  offer(map: ClusterMap): void {
    if (this.#map !== undefined && map.epoch <= this.#map.epoch) return;
    this.#take(map);
    this.#writing ??= this.#write();
    for (const listener of this.#listeners) listener(map);
  }

  #take(map: ClusterMap | undefined): void {
    this.#map = map;
    this.#revoked = new Set(map?.revoked);
  }

  /** Listens for newer maps; the answer ends it. */
  onChange(listener: MapListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Writes until the file holds the newest map: while one write runs, newer ones gather. */
  async #write(): Promise<void> {
    try {
      for (
        let written: ClusterMap | undefined;
        this.#map !== undefined && written !== this.#map;
      ) {
        written = this.#map;
        await writeMap(this.#path, written);
      }
    } catch (error) {
      this.#onWriteError(error);
    } finally {
      this.#writing = undefined;
    }
  }

  /** Resolves when the file is as new as the memory. */
  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#writing;
  }
}

async function readMap(path: string): Promise<ClusterMap | undefined> {
  const text = await readIfPresent(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as ClusterMap;
  } catch {
    return undefined;
  }
}

/** Writes a map as map.json of a data directory. */
export async function saveMap(dataDirectory: string, map: ClusterMap): Promise<void> {
  await writeMap(join(dataDirectory, DATA_NAMES.map), map);
}

async function writeMap(path: string, map: ClusterMap): Promise<void> {
  await writeDurably(path, `${JSON.stringify(map)}\n`);
}
