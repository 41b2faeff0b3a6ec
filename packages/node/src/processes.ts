/** Peer and volume driver, loaded when they start: what founds or joins a cluster does without them. */
import type { NodeConfig } from './config.ts';
import type { RunningNode } from './daemon.ts';
import type { RunningVolumeDriver, VolumeDriverOptions } from './volume-driver/start.ts';

/** See startNode of daemon.ts. */
export async function startNode(config: NodeConfig): Promise<RunningNode> {
  const daemon = await import('./daemon.ts');
  return daemon.startNode(config);
}

/** See startVolumeDriver of volume-driver/start.ts. */
export async function startVolumeDriver(
  options: VolumeDriverOptions,
): Promise<RunningVolumeDriver> {
  const driver = await import('./volume-driver/start.ts');
  return driver.startVolumeDriver(options);
}
