import { join } from 'node:path';
import { type Epoch, ROOT_VOLUME, SYSTEM_SHARD } from '@holdfast/protocol';
import { serveChunks } from '../chunks/service.ts';
import { ChunkStore } from '../chunks/store.ts';
import type { Core } from '../core.ts';
import { DATA_NAMES } from '../membership/data-directory.ts';
import { ChunkCollector } from '../shards/chunk-collector.ts';
import { Orphans } from './orphans.ts';
import { ChunkPeers } from './peers.ts';
import { Repair } from './repair.ts';
import { chunkRules } from './rules.ts';

/**
 * Opens the chunks of a peer, registers the methods that serve them, and makes what keeps them whole and
 * what frees those that nobody names. Both begin with their `start`, when other peers can reach this one.
 * Throws as ChunkStore.open.
 */
export async function openChunks(
  core: Core,
): Promise<{ store: ChunkStore; repair: Repair; orphans: Orphans }> {
  const { self, map, book, config, identity, registry, metrics, log, teardown, wire } = core;
  const holder: { repair?: Repair } = {};
  const store = await ChunkStore.open(join(config.dataDirectory, DATA_NAMES.chunks), {
    registry: metrics,
    ...(config.capacityBytes === 0 ? {} : { capacityBytes: config.capacityBytes }),
    onDamage: (fields) => {
      log.error({ event: 'chunk.damaged', ...fields });
      holder.repair?.wake();
    },
  });
  teardown.add('chunks', () => store.close());
  serveChunks(
    wire,
    store,
    chunkRules(self, () => map.current),
  );
  const peers = new ChunkPeers({
    clusterId: identity.clusterId,
    tls: () => identity.tls,
    addressOf: (node) => book.of(node, 'wireAddress'),
  });
  teardown.add('chunk peers', () => peers.close());
  const repair = new Repair({
    self,
    store,
    map: () => map.current,
    call: peers.call,
    report: ({ epoch, partitions }) =>
      registry.execute({ op: 'partitions-synced', node: self, epoch: epoch as Epoch, partitions }),
    registry: metrics,
    log,
    limits: { intervalMs: config.repairIntervalMs, bytesPerSecond: config.repairBytesPerSecond },
  });
  holder.repair = repair;
  teardown.add('repair', () => repair.close());
  const stopListening = map.onChange((newest) => repair.mapChanged(newest));
  teardown.add('repair maps', stopListening);
  return { store, repair, orphans: searchOrphans(core, store) };
}

function searchOrphans(core: Core, store: ChunkStore): Orphans {
  const { map, book, config, identity, metrics, log, teardown } = core;
  const collector = new ChunkCollector({
    clusterId: identity.clusterId,
    tls: () => identity.tls,
    map: () => map.current,
    addressOf: (node) => book.of(node, 'wireAddress'),
  });
  teardown.add('orphan collector', () => collector.close());
  const orphans = new Orphans({
    store,
    // All of a cluster are made with its first entry: every map has them.
    shards: () =>
      (map.current?.shards ?? [])
        .map(({ shard }) => shard)
        .filter((shard) => shard !== SYSTEM_SHARD),
    look: (shard, chunks) => core.lookInShard(shard, ROOT_VOLUME, { view: 'known-chunks', chunks }),
    bar: (shard, before) => core.runInShard(shard, ROOT_VOLUME, { op: 'bar-chunks', before }),
    deleteChunks: (chunks) => collector.delete(chunks),
    nowMs: Date.now,
    ageMs: config.orphanAgeMs,
    registry: metrics,
    log,
  });
  teardown.add('orphans', () => orphans.close());
  return orphans;
}
