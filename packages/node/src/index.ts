export type { VolumeBackend, VolumeInfo } from './volume-driver/backend.ts';
export { parseSize, parseVolumeOptions } from './volume-driver/options.ts';
export {
  type RunningVolumeDriver,
  startVolumeDriver,
  type VolumeDriverOptions,
} from './volume-driver/start.ts';
