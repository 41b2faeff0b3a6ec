/** Users and groups of this host by name: ACLs of archives name them. */
import { readFileSync } from 'node:fs';

const FILES = { user: '/etc/passwd', group: '/etc/group' } as const;

/** Looks names up in passwd(5) and group(5), each read once. */
export class HostIds {
  readonly #files: { readonly user: string; readonly group: string };
  readonly #tables = new Map<string, ReadonlyMap<string, number>>();

  /** The host's own files, or others of their form. */
  constructor(files: { readonly user: string; readonly group: string } = FILES) {
    this.#files = files;
  }

  /** The number of a user or a group; `name` in latin1, one character a byte. */
  idOf(kind: 'user' | 'group', name: string): number | undefined {
    let table = this.#tables.get(kind);
    if (table === undefined) {
      table = tableOf(this.#files[kind]);
      this.#tables.set(kind, table);
    }
    return table.get(name);
  }
}

function tableOf(path: string): Map<string, number> {
  const table = new Map<string, number>();
  for (const line of textOf(path).split('\n')) {
    const [name = '', , id = ''] = line.split(':');
    if (/^\d{1,10}$/.test(id) && !table.has(name)) table.set(name, Number(id));
  }
  return table;
}

/** A host without the file knows nobody. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
