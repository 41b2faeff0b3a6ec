import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runDialogue } from './testing/dialogue.ts';

const FOLDER = new URL('../testdata/', import.meta.url);
/** UPDATE_DIALOGUES=1 writes what is printed now; review the difference like code. */
const isUpdate = process.env['UPDATE_DIALOGUES'] === '1';

describe('a dialogue', () => {
  it.each(readdirSync(FOLDER).filter((name) => name.endsWith('.txt')))(
    '%s goes as written',
    (name) => {
      const file = new URL(name, FOLDER);
      const written = readFileSync(file, 'utf8');
      const now = runDialogue(written);
      if (isUpdate) writeFileSync(file, now);
      expect(now).toBe(isUpdate ? now : written);
    },
  );
});
