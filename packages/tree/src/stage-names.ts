/** Begins the name of a hidden directory in a volume's root that is being filled: not content of the volume. */
export const STAGE_PREFIX = '.holdfast-import-';

/** Whether a name in a volume's root is that of a stage. */
export function isStageName(name: string): boolean {
  return name.startsWith(STAGE_PREFIX);
}
