/** Operations of the registry on hosts that are gone but are still noted as using volumes. */
import type { RegistryResult } from './cluster-commands.ts';
import { checkNodeName } from './cluster-names.ts';
import type { ChangeOf } from './cluster-nodes.ts';
import type { ClusterRecords } from './cluster-records.ts';
import { detach } from './cluster-volumes.ts';
import { refuse } from './registry-results.ts';

/** See the change's own description. */
export function release(records: ClusterRecords, change: ChangeOf<'release'>): RegistryResult {
  const { name, host, force } = change;
  const wrong = checkNodeName(host);
  if (wrong !== undefined) return refuse('BAD_REQUEST', wrong);
  const volume = records.volumeNamed(name);
  if (volume === undefined) return refuse('NOT_FOUND', `there is no volume '${name}'`);
  const { attachedTo } = volume.record;
  if (!attachedTo.includes(host)) {
    const users = attachedTo.length === 0 ? 'no host does' : `these do: ${attachedTo.join(', ')}`;
    const message = `host '${host}' does not use volume '${name}'; ${users}`;
    return refuse('NOT_FOUND', message, { attachedTo });
  }
  const reason = force ? undefined : whyPerhapsAlive(records, host);
  if (reason !== undefined) return refuse('CONFLICT', `${reason}, or force it`, { host });
  return detach(records, { op: 'detach', name, host });
}

/** A host is gone for good: it uses no volume any more. */
export function detachEverywhere(records: ClusterRecords, host: string): void {
  const used = [...records.volumes.values()].filter(({ record }) =>
    record.attachedTo.includes(host),
  );
  for (const { record } of used) detach(records, { op: 'detach', name: record.name, host });
}

/** Undefined when the host is known to be gone; else what speaks against that, and what to do. */
function whyPerhapsAlive(records: ClusterRecords, host: string): string | undefined {
  const peer = records.nodeNamed(host)?.record;
  if (peer === undefined) {
    return `host '${host}' is no peer, so nobody knows whether it is alive: make sure that it is off`;
  }
  switch (peer.state) {
    case 'down':
    case 'out':
      return undefined;
    case 'up':
    case 'draining':
      return `host '${host}' is ${peer.state}: stop the containers there that use the volume`;
  }
}
