/** The lab on the command line; `lab help` lists the commands. */
import { parseArgs } from 'node:util';
import { LabError } from './errors.ts';
import type { Host } from './host.ts';
import { Lab, type LabKind } from './lab.ts';
import { run } from './processes.ts';
import { packRootfs } from './rootfs.ts';

const HELP = `A Docker Swarm of several hosts on one machine (see README.md).

  lab up [N] [--kind swarm|engine|none] [--managers M]    make and start h1..hN (default 3)
  lab down [--all]            end the lab (all labs) and remove everything it made
  lab status                  hosts, addresses, memory, cuts
  lab ready                   wait until every running host is Ready in the Swarm
  lab exec hK CMD...          run a command inside a host
  lab docker hK ARGS...       Docker client against that host's engine
  lab logs hK                 the engine's log
  lab net CMD...              run a command at the switch, outside all hosts (10.77.0.254)
  lab rootfs TAR [--node]     pack a root file system: busybox, Node
  lab image NAME TAR          the same image on every host, from a root file system or docker save
  lab kill hK                 end the host at once; what it wrote reaches its disk
  lab powercut hK             end the host at once; what it did not flush is lost
  lab start hK                boot it again
  lab freeze hK | thaw hK     stop and continue all its processes
  lab engine-stop hK [SIGKILL] | engine-start hK
  lab partition hK [hJ...]    cut it off from all, or from some
  lab cut hJ hK               one direction only
  lab heal [hK]               end the cuts

LAB_ROOT names the lab; without it the only one that is up is meant.
`;

type Command = (args: string[]) => Promise<number | undefined>;

function currentLab(): Lab {
  const { LAB_ROOT } = process.env;
  if (LAB_ROOT !== undefined) return Lab.attach(LAB_ROOT);
  const roots = Lab.roots();
  const [only] = roots;
  if (only === undefined) throw new LabError('no lab is up: lab up 3');
  if (roots.length > 1) throw new LabError(`several labs are up, set LAB_ROOT: ${roots.join(' ')}`);
  return Lab.attach(only);
}

/** A command whose first argument is a host. */
function onHost(act: (host: Host, rest: string[], lab: Lab) => Promise<unknown>): Command {
  return async ([name, ...rest]) => {
    if (name === undefined) throw new LabError('which host? lab help');
    const lab = currentLab();
    const answer = await act(lab.host(name), rest, lab);
    return typeof answer === 'number' ? answer : 0;
  };
}

async function up(args: string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: { kind: { type: 'string', default: 'swarm' }, managers: { type: 'string' } },
  });
  if (!['swarm', 'engine', 'none'].includes(values.kind))
    throw new LabError(`no kind ${values.kind}`);
  const managers = values.managers === undefined ? {} : { managers: Number(values.managers) };
  const hosts = Number(positionals[0] ?? 3);
  const lab = await Lab.up({ hosts, kind: values.kind as LabKind, keep: true, ...managers });
  process.stdout.write(`export LAB_ROOT=${lab.root}\n`);
  return 0;
}

async function down(args: string[]): Promise<number> {
  const labs = args.includes('--all')
    ? Lab.roots().map((root) => Lab.attach(root))
    : [currentLab()];
  for (const lab of labs) await lab.down();
  return 0;
}

async function status(): Promise<number> {
  const lab = currentLab();
  for (const host of lab.hosts) {
    const memory = Math.round(host.memoryBytes / 2 ** 20);
    const state = host.isUp ? 'up' : 'down';
    process.stdout.write(
      `${host.name} ${host.address} ${state} ${memory} MiB ${host.engine.socket}\n`,
    );
  }
  for (const { from, to } of lab.switch.cuts()) {
    const end = (number: number): string => (number === 0 ? 'all' : `h${number}`);
    process.stdout.write(`cut ${end(from)} -> ${end(to)}\n`);
  }
  return 0;
}

async function passThrough(argv: readonly string[]): Promise<number> {
  const result = await run(argv, { check: false, timeoutMs: 3_600_000 });
  process.stdout.write(result.stdout);
  process.stderr.write(result.stderr);
  return result.status ?? 1;
}

const COMMANDS: Record<string, Command> = {
  up,
  down,
  status,
  ready: async () => {
    await currentLab().ready();
    return 0;
  },
  exec: onHost((host, rest) => host.attach(rest)),
  docker: onHost(async (host, rest) => {
    const result = await host.docker(rest, { check: false, timeoutMs: 3_600_000 });
    process.stdout.write(result.stdout);
    process.stderr.write(result.stderr);
    return result.status ?? 1;
  }),
  logs: onHost(async (host) => void process.stdout.write(host.engine.log)),
  net: (args) => passThrough(currentLab().switch.command(args)),
  rootfs: async ([tar = 'rootfs.tar', ...rest]) => {
    await packRootfs(tar, rest.includes('--node') ? { node: 'program' } : {});
    return 0;
  },
  image: async ([name, tar]) => {
    if (name === undefined || tar === undefined) throw new LabError('lab image NAME TAR');
    await currentLab().image(name, tar);
    return 0;
  },
  kill: onHost((host) => host.kill()),
  powercut: onHost((host) => host.powercut()),
  start: onHost((host) => host.start()),
  freeze: onHost((host) => host.freeze()),
  thaw: onHost((host) => host.thaw()),
  'engine-stop': onHost((host, [signal]) =>
    host.engine.stop(signal === 'SIGKILL' ? signal : 'SIGTERM'),
  ),
  'engine-start': onHost((host) => host.engine.start()),
  partition: onHost((host, rest, lab) =>
    lab.partition(host, ...rest.map((name) => lab.host(name))),
  ),
  cut: onHost((host, [to = ''], lab) => lab.cut(host, lab.host(to))),
  heal: async ([name]) => {
    const lab = currentLab();
    await lab.heal(name === undefined ? undefined : lab.host(name));
    return 0;
  },
};

async function main(): Promise<number> {
  const [name = 'help', ...args] = process.argv.slice(2);
  const command = COMMANDS[name];
  if (command !== undefined) return (await command(args)) ?? 0;
  process.stdout.write(HELP);
  return name === 'help' ? 0 : 2;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`lab: ${error instanceof LabError ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
