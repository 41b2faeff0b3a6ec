/** Reaching directories without following symbolic links. */
import { closeSync, constants, openSync } from 'node:fs';

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
/** open(2): a descriptor that names an inode and opens nothing. Not among Node's constants. */
export const O_PATH = 0o10000000;

/** Paths are latin1 text; Node takes bytes. */
export function bytesOf(path: string): Buffer {
  return Buffer.from(path, 'latin1');
}

/** The path by which a descriptor's directory is reached: /proc/self/fd/N/name is openat(2) in effect. */
function descriptorPath(descriptor: number): string {
  return `/proc/self/fd/${descriptor}`;
}

/**
 * Opens the directory at `path` below `root` component by component, so that a link which somebody
 * puts in the way fails (ENOTDIR) in place of leading out. The caller closes the descriptor.
 */
function openBelow(root: string, path: string): number {
  let at = openSync(bytesOf(root), O_RDONLY | O_DIRECTORY | O_PATH);
  for (const name of path === '' ? [] : path.split('/')) {
    const above = at;
    try {
      at = openSync(
        bytesOf(`${descriptorPath(above)}/${name}`),
        O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_PATH,
      );
    } finally {
      closeSync(above);
    }
  }
  return at;
}

/** Runs a step with the directory at `path` below `root`, reached without following links. */
export async function withDirectory<T>(
  root: string,
  path: string,
  step: (directory: string) => Promise<T>,
): Promise<T> {
  const descriptor = openBelow(root, path);
  try {
    return await step(descriptorPath(descriptor));
  } finally {
    closeSync(descriptor);
  }
}
