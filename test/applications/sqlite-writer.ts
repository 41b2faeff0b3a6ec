/** Inserts numbered rows with synchronous=FULL and prints each number once its commit has returned. */
import { writeSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

const [path = '', journal = 'DELETE'] = process.argv.slice(2);
const database = new DatabaseSync(path);
database.exec(`PRAGMA journal_mode=${journal}; PRAGMA synchronous=FULL; PRAGMA busy_timeout=20000`);
database.exec('CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)');
const last = database.prepare('SELECT coalesce(max(id), 0) AS id FROM rows').get() as {
  id: number;
};
const insert = database.prepare('INSERT INTO rows VALUES (?, ?)');
for (let id = last.id + 1; ; id++) {
  insert.run(id, `row ${id} `.repeat(20));
  writeSync(1, `${id}\n`);
}
