/**
 * Opens the databases of a data directory as a peer does, says so, and stays: its power is to be cut.
 * usage: node first-seconds.ts DIRECTORY
 */
import { join } from 'node:path';
import { ChunkIndex } from '../../packages/node/src/chunks/chunk-index.ts';
import { lockDirectory } from '../../packages/node/src/membership/data-directory.ts';
import { LevelStore } from '../../packages/node/src/shards/level-store.ts';
import { SystemShard } from '../../packages/node/src/shards/system-shard.ts';

const directory = process.argv[2] ?? '.';
await lockDirectory(directory);
await SystemShard.open(join(directory, 'state', 'system'));
await LevelStore.open(join(directory, 'state', 'volumes'));
await ChunkIndex.open(join(directory, 'chunks', 'index'));
process.stdout.write('open\n');
setInterval(() => {}, 60_000);
