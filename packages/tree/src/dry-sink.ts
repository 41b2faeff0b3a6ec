/** A sink that changes nothing: it answers as the one behind it would, for those who only want to know. */
import { HoldfastError } from '@holdfast/protocol';
import type { FileOptions, Present, SinkDirectory, SinkEntry, SinkFile, TreeSink } from './sink.ts';

const LOOK = { isLook: true } as const;

/** A file that would be written. */
class DryFile implements SinkFile {
  readonly isNew = true;

  async read(): Promise<number> {
    return 0;
  }

  async write(): Promise<void> {}

  async finish(): Promise<void> {}

  async abandon(): Promise<void> {}
}

class DryDirectory implements SinkDirectory {
  /** What is there; `undefined`: it would be made. */
  readonly #there: SinkDirectory | undefined;

  constructor(there: SinkDirectory | undefined) {
    this.#there = there;
  }

  async directory({ name }: SinkEntry): Promise<SinkDirectory> {
    const found = await this.#there?.look(name);
    return new DryDirectory(
      found?.kind === 'directory' ? await this.#there?.enter(name, LOOK) : undefined,
    );
  }

  async enter(name: string): Promise<SinkDirectory | undefined> {
    const found = await this.#there?.enter(name, LOOK);
    return found && new DryDirectory(found);
  }

  async file(
    { name, size, mtimeNs }: SinkEntry,
    { fresh = false, compare = false }: FileOptions = {},
  ): Promise<SinkFile | undefined> {
    const found = await this.#refuseDirectory(name);
    const isAlike = found?.kind === 'file' && found.size === size && found.mtimeNs === mtimeNs;
    return isAlike && !fresh && !compare ? undefined : new DryFile();
  }

  async look(name: string): Promise<Present | undefined> {
    return this.#there?.look(name);
  }

  async names(): Promise<readonly string[]> {
    return (await this.#there?.names()) ?? [];
  }

  async remove(): Promise<void> {}

  async special({ name }: SinkEntry): Promise<void> {
    await this.#refuseDirectory(name);
  }

  async link({ name }: { readonly name: string }): Promise<void> {
    await this.#refuseDirectory(name);
  }

  async finish(): Promise<void> {
    await this.#there?.finish();
  }

  /** As the sinks themselves do: a directory in the way is not removed. */
  async #refuseDirectory(name: string): Promise<Present | undefined> {
    const found = await this.#there?.look(name);
    if (found?.kind !== 'directory') return found;
    throw new HoldfastError(
      'EEXIST',
      `a directory stands where ${name} belongs; remove it or write elsewhere`,
    );
  }
}

/** A {@link TreeSink} over what is there, or over nothing. */
export class DrySink implements TreeSink {
  readonly #there: TreeSink | undefined;

  constructor(there: TreeSink | undefined) {
    this.#there = there;
  }

  async root(): Promise<SinkDirectory> {
    return new DryDirectory(await this.#there?.root());
  }
}
