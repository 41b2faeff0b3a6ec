import {
  DirectorySink,
  DirectoryStore,
  findSnapshot,
  openRepository,
  restore,
} from './src/index.ts';

const [, , repo, out, path, name] = process.argv;
const store = new DirectoryStore(repo!);
const r = await openRepository({ store, password: 'pw' });
const t = performance.now();
const result = await restore(r, {
  snapshot: await findSnapshot(r, name ?? 'latest'),
  path: path!,
  sink: new DirectorySink(out!, (...a) => console.log(a)),
});
console.log(
  performance.now() - t,
  result,
  process.resourceUsage().maxRSS / 1024,
  process.cpuUsage(),
);
