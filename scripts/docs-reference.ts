/** Writes the pages of docs/ that are made from the code: `pnpm docs:reference`. */
import { writeFileSync } from 'node:fs';
import { PAGES } from './reference/pages.ts';

for (const [file, page] of Object.entries(PAGES)) {
  writeFileSync(new URL(`../docs/${file}`, import.meta.url), await page());
  console.log(`docs/${file}`);
}
