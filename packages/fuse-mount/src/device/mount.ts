import { closeSync, openSync } from 'node:fs';
import { HoldfastError } from '@holdfast/protocol';
import { mount, UMOUNT_FLAG, umount } from './native.ts';

/** File system type that /proc/mounts shows. */
const FILE_SYSTEM_TYPE = 'fuse.holdfast';

const EBUSY = 16;

/**
 * Opens /dev/fuse and mounts it; returns the descriptor, with whose last copy the mount dies. Throws
 * NOT_FOUND without /dev/fuse, FORBIDDEN without the right to mount.
 */
export function mountDevice(mountpoint: string): number {
  const descriptor = openDevice();
  const data = `fd=${descriptor},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other`;
  const result = mount(mountpoint, { type: FILE_SYSTEM_TYPE, data });
  if (result === 0) return descriptor;
  closeSync(descriptor);
  const message = `cannot mount at ${mountpoint} (errno ${-result}); an empty directory and root are needed`;
  throw new HoldfastError('FORBIDDEN', message);
}

/** Unmounts. False when files are open below it; `detach` then takes it out of sight at once. */
export function unmount(mountpoint: string, options: { readonly detach: boolean }): boolean {
  const result = umount(mountpoint, options.detach ? UMOUNT_FLAG.detach : 0);
  if (result === -EBUSY) return false;
  if (result < 0) {
    throw new HoldfastError('EINVAL', `${mountpoint} cannot be unmounted (errno ${-result})`);
  }
  return true;
}

function openDevice(): number {
  try {
    return openSync('/dev/fuse', 'r+');
  } catch (cause) {
    const message = 'cannot open /dev/fuse: load the fuse module, or give the container the device';
    throw new HoldfastError('NOT_FOUND', message, { cause });
  }
}
