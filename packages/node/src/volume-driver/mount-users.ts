import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type MountEntry, type MountRoot, parseMountinfo } from './mount-root.ts';

/**
 * Volumes that some mount namespace of this host has mounted by themselves, as containers do; only
 * processes that this one can see are asked (all of the host's when it runs in the host's own process
 * id namespace).
 */
export async function volumesInMountNamespaces(root: MountRoot): Promise<ReadonlySet<string>> {
  const own = await root.entry();
  const volumes = new Set<string>();
  if (own === undefined) return volumes;
  const seen = new Set<string>();
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    for (const entry of mountsOf(pid, seen)) {
      // Bound from below the cluster's root: the first part of its folder is the volume.
      const volume = entry.device === own.device ? entry.root.split('/')[1] : '';
      if (volume) volumes.add(volume);
    }
  }
  return volumes;
}

/** The mounts of a process, if its namespace is not among those seen already. */
function mountsOf(pid: string, seen: Set<string>): MountEntry[] {
  try {
    const namespace = readlinkSync(`/proc/${pid}/ns/mnt`);
    if (seen.has(namespace)) return [];
    seen.add(namespace);
    return parseMountinfo(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
  } catch {
    return []; // it ended while we looked
  }
}
