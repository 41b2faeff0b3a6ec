/** A mount daemon as the keeper starts it, whose file system lives in the test's process. */
import { INIT_FLAG, MountServer } from '@holdfast/fuse-mount';
import { connectFileSystem } from '../support/file-system-socket.ts';

const [mode, stateDirectory = '', socketPath = ''] = process.argv.slice(2);

if (mode === 'useless') process.exit(78);

const server = MountServer.start({
  descriptor: 3,
  fileSystem: connectFileSystem(socketPath),
  stateDirectory,
  wishes: { clusterLocks: true },
  observer: {
    onProblem: (event, fields) => console.error(`${event} ${JSON.stringify(fields)}`),
  },
  ...(mode === 'without-resend' && { withoutFlags: INIT_FLAG.resend }),
});
process.once('SIGTERM', () => {
  void server.stop().then(() => process.exit(75));
});
await server.ended;
process.exit(0);
