export { mountDevice, unmount } from './device/mount.ts';
export { PipeReadiness, PollReadiness } from './device/readiness.ts';
export type { MountObserver } from './dispatcher.ts';
export { INIT_FLAG } from './kernel/flags.ts';
export { MountServer, type MountServerOptions } from './mount-server.ts';
