/** Whole trees in memory, for tests: to compare them, and to carry them from a source to a sink. */
import type { SinkDirectory, SinkEntry, SourceEntry, TreeSink, TreeSource } from '@holdfast/tree';

/** What a comparison shows of one entry. Identities of hard links are the first path of the file. */
export interface Seen {
  readonly kind: string;
  readonly mode: string;
  readonly owner: string;
  readonly mtimeNs: bigint;
  readonly rdev: bigint;
  readonly target: string;
  readonly sameAs: string;
  readonly xattrs: Readonly<Record<string, string>>;
  /** Content in latin1. */
  readonly content: string;
}

async function contentOf(source: TreeSource, path: string, entry: SourceEntry): Promise<Buffer> {
  const file = await source.open(path, entry);
  try {
    const bytes = Buffer.alloc(file.size);
    const count = await file.read(bytes, 0);
    return bytes.subarray(0, count);
  } finally {
    await file.close();
  }
}

/** Every entry below the root (`''`, itself included) by path. */
export async function seeTree(source: TreeSource): Promise<Map<string, Seen>> {
  const seen = new Map<string, Seen>();
  const first = new Map<string, string>();
  const visit = async (path: string, entry: SourceEntry): Promise<void> => {
    const identity = `${entry.deviceId}:${entry.inode}`;
    if (!first.has(identity)) first.set(identity, path);
    const xattrs = await source.xattrs(path, entry);
    seen.set(path, {
      kind: entry.kind,
      mode: entry.kind === 'symlink' ? '' : entry.mode.toString(8),
      owner: `${entry.uid}:${entry.gid}`,
      mtimeNs: entry.mtimeNs,
      rdev: entry.rdev,
      target: entry.target,
      sameAs: entry.kind === 'directory' ? '' : (first.get(identity) ?? ''),
      xattrs: Object.fromEntries(
        xattrs
          .map(({ name, value }) => [name, Buffer.from(value).toString('latin1')] as const)
          .toSorted(([a], [b]) => (a < b ? -1 : 1)),
      ),
      content:
        entry.kind === 'file' ? (await contentOf(source, path, entry)).toString('latin1') : '',
    });
    if (entry.kind !== 'directory') return;
    const children: SourceEntry[] = [];
    for await (const child of source.list(path, entry)) children.push(child);
    children.sort((a, b) => (a.name < b.name ? -1 : 1));
    for (const child of children) {
      await visit(path === '' ? child.name : `${path}/${child.name}`, child);
    }
  };
  await visit('', await source.root());
  return seen;
}

/** Copies a tree entry by entry, holes as holes. */
export async function copyTree(source: TreeSource, sink: TreeSink): Promise<void> {
  const first = new Map<string, string>();
  const fill = async (path: string, entry: SourceEntry, into: SinkDirectory): Promise<void> => {
    for await (const child of source.list(path, entry)) {
      const below = path === '' ? child.name : `${path}/${child.name}`;
      const made: SinkEntry = { ...child, xattrs: await source.xattrs(below, child) };
      const identity = `${child.deviceId}:${child.inode}`;
      const known = first.get(identity);
      first.set(identity, below);
      if (child.kind === 'directory') {
        const directory = await into.directory(made);
        await fill(below, child, directory);
        await directory.finish(made);
      } else if (known !== undefined) await into.link(made, known.split('/'));
      else if (child.kind === 'file') await copyFile(source, below, { child, made, into });
      else await into.special(made);
    }
  };
  const root = await source.root();
  const top = await sink.root();
  await fill('', root, top);
  await top.finish({ ...root, xattrs: await source.xattrs('', root) });
}

async function copyFile(
  source: TreeSource,
  path: string,
  { child, made, into }: { child: SourceEntry; made: SinkEntry; into: SinkDirectory },
): Promise<void> {
  const file = await source.open(path, child);
  const copy = await into.file(made, { fresh: true });
  for (const { offset, length } of (await file.dataRanges()) ?? [
    { offset: 0, length: file.size },
  ]) {
    const bytes = Buffer.alloc(length);
    await file.read(bytes, offset);
    await copy?.write(bytes, offset);
  }
  await copy?.finish();
  await file.close();
}
