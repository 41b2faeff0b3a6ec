export { SCRYPT_COST, type ScryptCost } from './format/key-slot.ts';
export {
  initRepository,
  openRepository,
  type Repository,
  type RepositoryOptions,
} from './repository/repository.ts';
export { ownSurroundings, type Surroundings } from './repository/surroundings.ts';
export { DirectoryStore } from './store/directory.ts';
export type { ByteRange, PutOptions, Store, StoredObject } from './store/store.ts';
