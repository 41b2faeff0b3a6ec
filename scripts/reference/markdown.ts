/** The first line of each page that is made, so that nobody edits it by hand. */
export const GENERATED = '<!-- Made by `pnpm docs:reference` from the code. Do not edit. -->\n\n';

/** A table; `|` in cells is escaped. Ends with a newline. */
export function markdownTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |\n`;
  return line(headings) + line(headings.map(() => '---')) + rows.map(line).join('');
}
