/** Operations on open directories. They have no state: a listing goes on from the offset alone. */
import type { ListedEntry, NodeReference } from '@holdfast/protocol';
import type { Reply } from '../device/channel.ts';
import { encodeOpen } from '../kernel/encode.ts';
import { cookieOf, Listing, OFFSET_PARENT, OFFSET_SELF } from '../kernel/listing.ts';
import type { BodyOf } from '../kernel/requests.ts';
import type { PendingRequest } from '../pending-request.ts';
import { done, type HandlerTable, type MountState } from './handler.ts';

type Directories = 'opendir' | 'readdir' | 'readdirplus' | 'releasedir' | 'fsyncdir';

/** Bytes that an entry takes at least, and so how many to ask for. */
const PLAIN_ENTRY_BYTES = 32;
const PLUS_ENTRY_BYTES = 160;

/** Handlers of directories. */
export const DIRECTORY_HANDLERS: HandlerTable<Directories> = {
  // The kernel has looked the directory up a moment ago and may not keep its listing.
  opendir: () => encodeOpen(0, 0),
  releasedir: () => done(),
  readdir: list,
  readdirplus: list,

  fsyncdir: async ({ dataOnly }, request, { fileSystem }) => {
    await fileSystem.sync(request.node, { dataOnly }, request);
    return done();
  },
};

async function list(
  body: BodyOf<'readdir' | 'readdirplus'>,
  request: PendingRequest,
  state: MountState,
): Promise<Reply> {
  const { fileSystem, invalidator } = state;
  const plus = body.op === 'readdirplus';
  const listing = new Listing(body.length, { plus });
  const count = Math.max(
    1,
    Math.floor(body.length / (plus ? PLUS_ENTRY_BYTES : PLAIN_ENTRY_BYTES)),
  );
  const [parent, { entries }] = await Promise.all([
    body.offset < OFFSET_PARENT ? fileSystem.parentOf(request.node, request) : undefined,
    fileSystem.readDirectory(request.node, cookieOf(body.offset), count, request),
  ]);
  if (!addDots(listing, { offset: body.offset, self: request.node, parent }))
    return listing.finish();
  for (const entry of entries) {
    if (!listing.add(entry)) break;
    if (plus) remember(entry, request, invalidator);
  }
  return listing.finish();
}

function addDots(
  listing: Listing,
  at: { offset: bigint; self: NodeReference; parent: NodeReference | undefined },
): boolean {
  if (at.offset < OFFSET_SELF && !listing.addDot('.', at.self)) return false;
  return at.parent === undefined || listing.addDot('..', at.parent);
}

function remember(
  entry: ListedEntry,
  request: PendingRequest,
  invalidator: MountState['invalidator'],
): void {
  invalidator.nameAnswered(request.node, entry.name, entry);
}
