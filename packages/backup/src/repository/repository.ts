/** A repository that is open: its key, its config, and the encrypted objects outside packs. */
import { HoldfastError } from '@holdfast/protocol';
import {
  CIPHER_KEY_BYTES,
  type CipherKey,
  cipherKeyFrom,
  IV_BYTES,
  seal,
  unseal,
} from '../format/cipher.ts';
import { decodeConfig, encodeConfig, type RepositoryConfig } from '../format/config.ts';
import { decodeDocument, encodeDocument } from '../format/envelope.ts';
import { isStorageId, type StorageId, storageIdOf } from '../format/ids.ts';
import {
  decodeSlot,
  encodeSlot,
  makeSlot,
  openSlot,
  SALT_BYTES,
  SCRYPT_COST,
  type ScryptCost,
} from '../format/key-slot.ts';
import { choosePolynomial } from '../format/polynomial.ts';
import { timeText } from '../format/time.ts';
import type { Store } from '../store/store.ts';
import { ownSurroundings, type Surroundings } from './surroundings.ts';

/** Key slots that are tried with a password, as many as restic tries. */
const KEY_SLOTS_MAX = 20;

/** The folders of objects outside packs. */
export type ObjectFolder = 'index' | 'snapshots' | 'locks' | typeof OWN_FOLDER;

/** What only Holdfast reads; restic does not look there. */
export const OWN_FOLDER = 'holdfast';

/** Where and as whom to open. */
export interface RepositoryOptions {
  readonly store: Store;
  readonly password: string;
  readonly surroundings?: Surroundings;
}

/** Password check and decryption are done; holds no connection of its own. */
export class Repository {
  readonly store: Store;
  readonly config: RepositoryConfig;
  readonly key: CipherKey;
  readonly surroundings: Surroundings;

  constructor(options: {
    readonly store: Store;
    readonly config: RepositoryConfig;
    readonly key: CipherKey;
    readonly surroundings: Surroundings;
  }) {
    this.store = options.store;
    this.config = options.config;
    this.key = options.key;
    this.surroundings = options.surroundings;
  }

  /** Seals under the repository's key with a fresh IV. */
  seal(plaintext: Uint8Array): Uint8Array {
    return seal(this.key, plaintext, this.surroundings.random(IV_BYTES));
  }

  /** Writes a document as an object of its own; durable when resolved. */
  async save(folder: ObjectFolder, document: unknown, signal?: AbortSignal): Promise<StorageId> {
    const bytes = this.seal(await encodeDocument(document, this.config.version));
    const id = storageIdOf(bytes);
    await this.store.put(`${folder}/${id}`, bytes, { sha256: id, ...(signal ? { signal } : {}) });
    return id;
  }

  /** Reads what {@link save} or restic wrote. NOT_FOUND when it is gone, CORRUPT when damaged. */
  async load(folder: ObjectFolder, id: StorageId, signal?: AbortSignal): Promise<unknown> {
    const key = `${folder}/${id}`;
    const bytes = await this.store.get(key, undefined, signal);
    if (storageIdOf(bytes) !== id)
      throw new HoldfastError('CORRUPT', `${key} does not match its name`, { detail: { key } });
    return decodeDocument(unseal(this.key, bytes), key);
  }

  /** The ids of a folder's objects; names that are no ids are passed over. */
  async ids(folder: ObjectFolder, signal?: AbortSignal): Promise<StorageId[]> {
    const ids: StorageId[] = [];
    for await (const { key } of this.store.list(`${folder}/`, signal)) {
      const name = key.slice(folder.length + 1);
      if (isStorageId(name)) ids.push(name);
    }
    return ids;
  }

  /** Adds a password; the id of its slot. */
  async addKey(password: string, cost: ScryptCost = SCRYPT_COST): Promise<StorageId> {
    return addSlot(this, password, cost);
  }
}

async function addSlot(
  { store, key, surroundings }: Pick<Repository, 'store' | 'key' | 'surroundings'>,
  password: string,
  cost: ScryptCost,
): Promise<StorageId> {
  if (password === '') throw new HoldfastError('EINVAL', 'the password of a repository is empty');
  const { random, nowMs, username, hostname } = surroundings;
  const slot = await makeSlot(key, password, {
    created: timeText(BigInt(nowMs()) * 1_000_000n),
    username,
    hostname,
    salt: random(SALT_BYTES),
    iv: random(IV_BYTES),
    cost,
  });
  const bytes = encodeSlot(slot);
  const id = storageIdOf(bytes);
  await store.put(`keys/${id}`, bytes, { sha256: id });
  return id;
}

/**
 * Makes a new repository of version 2 with one password. EEXIST when there is one. The key slot is
 * written first: a crash before the config leaves a place where init works again.
 */
export async function initRepository(
  options: RepositoryOptions & { readonly cost?: ScryptCost },
): Promise<Repository> {
  const { store, password, surroundings = ownSurroundings(), cost = SCRYPT_COST } = options;
  if ((await store.size('config')) !== undefined)
    throw new HoldfastError('EEXIST', 'there is a repository already; open it instead');
  const { random } = surroundings;
  const polynomial = choosePolynomial(() => Buffer.from(random(8)).readBigUInt64LE(0));
  const config: RepositoryConfig = {
    version: 2,
    id: Buffer.from(random(32)).toString('hex'),
    chunkerPolynomial: polynomial.toString(16),
  };
  const key = cipherKeyFrom(random(CIPHER_KEY_BYTES));
  const repository = new Repository({ store, config, key, surroundings });
  const slot = await repository.addKey(password, cost);
  const outcome = await store.put('config', repository.seal(encodeConfig(config)));
  if (outcome === 'created') return repository;
  await store.delete(`keys/${slot}`);
  throw new HoldfastError('EEXIST', 'another process made the repository at the same time');
}

async function masterKey(store: Store, password: string): Promise<CipherKey> {
  let slots = 0;
  let damage: unknown;
  for await (const { key: name } of store.list('keys/')) {
    if (!isStorageId(name.slice('keys/'.length))) continue;
    if (slots++ >= KEY_SLOTS_MAX) break;
    try {
      const key = await openSlot(decodeSlot(await store.get(name)), password);
      if (key !== undefined) return key;
    } catch (error) {
      // The next one may be the password's.
      if (!(error instanceof HoldfastError) || error.code !== 'CORRUPT') throw error;
      damage = new HoldfastError(
        'CORRUPT',
        `the key file ${name} is damaged (${error.message}), and no other fits the password; only a copy of it opens the repository`,
        { cause: error },
      );
    }
  }
  if (slots === 0)
    throw new HoldfastError('NOT_FOUND', 'there is no repository here; make one with init');
  if (damage !== undefined) throw damage;
  throw new HoldfastError('EACCES', 'the password fits none of the keys of the repository');
}

/** Opens what is there. NOT_FOUND without a repository, EACCES with a wrong password. */
export async function openRepository(options: RepositoryOptions): Promise<Repository> {
  const { store, password, surroundings = ownSurroundings() } = options;
  const key = await masterKey(store, password);
  const bytes = await store.get('config');
  try {
    const config = decodeConfig(unseal(key, bytes));
    return new Repository({ store, config, key, surroundings });
  } catch (error) {
    if (!(error instanceof HoldfastError) || error.code !== 'CORRUPT') throw error;
    throw new HoldfastError(
      'CORRUPT',
      `the file config of the repository is damaged (${error.message}); put a copy of it back`,
      { cause: error },
    );
  }
}
