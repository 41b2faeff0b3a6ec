import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

/** The root of the project's tree. */
export const ROOT = join(import.meta.dirname, '..', '..');

/** Folders that hold nothing a person wrote. */
const SKIPPED = new Set(['node_modules', 'coverage', 'seeds', 'testdata', 'generated']);

/** One text file of the project, its path from the root. */
export interface TreeFile {
  readonly path: string;
  readonly text: string;
}

/** A place where a module names another. */
export interface Import {
  readonly specifier: string;
  /** Erased before the program runs, so that it can close no circle at run time. */
  readonly isTypeOnly: boolean;
}

/** All files below the given folders (or the files themselves) whose name ends in one of `ends`. */
export function filesBelow(folders: readonly string[], ends: readonly string[]): TreeFile[] {
  return folders
    .flatMap((folder) => walk(join(ROOT, folder)))
    .filter((path) => ends.some((end) => path.endsWith(end)))
    .map((path) => ({ path: relative(ROOT, path), text: readFileSync(path, 'utf8') }));
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (entry.name.startsWith('.') || SKIPPED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return walk(path);
    return entry.isFile() ? [path] : [];
  });
}

/** The packages' folders, by name. */
export function packageNames(): string[] {
  return readdirSync(join(ROOT, 'packages'));
}

const IMPORT = /^(?:import|export)\s+(type\s+)?(?:[^'"`;=()]*?\sfrom\s+)?'([^']+)'/gm;

/** What a module imports or re-exports, as its formatted text says. */
export function importsOf(file: TreeFile): Import[] {
  return [...file.text.matchAll(IMPORT)].map(([, type, specifier = '']) => ({
    specifier,
    isTypeOnly: type !== undefined,
  }));
}

/** The path from the root of a module named relatively by another one. */
export function resolveFrom(importer: string, specifier: string): string {
  return join(dirname(importer), specifier);
}
