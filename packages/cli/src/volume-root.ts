import { type FileSystem, type NodeReference, ROOT_INODE, ROOT_VOLUME } from '@holdfast/protocol';

/** The root of a volume by its name. ENOENT. */
export async function rootOf(fileSystem: FileSystem, name: string): Promise<NodeReference> {
  const list = { volume: ROOT_VOLUME, ino: ROOT_INODE };
  const text = Buffer.from(name, 'utf8').toString('latin1');
  const context = { uid: 0, gid: 0, pid: 0, requestId: 0 };
  return (await fileSystem.lookup(list, text, context)).node;
}
