import type { ClusterClient } from '@holdfast/client';
import { HoldfastError, type VolumePolicy } from '@holdfast/protocol';
import type { Command } from 'commander';
import { checkReadable, STANDARD_STREAM } from '../archive-files.ts';
import { type Context, connectToCluster, contextOf } from '../context.ts';
import { bytesText, type Output } from '../output.ts';
import { ProgressLine } from '../progress.ts';
import type { ReceivedVolume, ReceiveReport } from '../receive-volume.ts';
import type { SentVolume } from '../send-volume.ts';
import { parseCount, parseLimit, parseSize } from '../sizes.ts';
import { stopReason } from '../stop-signal.ts';
import { Warnings } from '../warnings.ts';

interface SendCommandOptions {
  readonly from?: string;
  readonly resume?: string;
  readonly output: string;
  readonly compress?: boolean;
  readonly limitUpload?: number;
}

interface ReceiveCommandOptions {
  readonly input: string;
  readonly size?: number;
  readonly replicas?: number;
  readonly policy: boolean;
  readonly resumable?: boolean;
  readonly resumeToken?: boolean;
  readonly force?: boolean;
}

/** `holdfast volume send` and `holdfast volume receive` */
export function addVolumeStream(volume: Command): void {
  addSend(volume);
  addReceive(volume);
}

function addSend(volume: Command): void {
  volume
    .command('send <volume[@snapshot]>')
    .description(
      "write a snapshot as a stream for 'holdfast volume receive' on another cluster; without a name one is taken, and stays",
    )
    .option('--from <snapshot>', 'only what changed since this snapshot, which the receiver has')
    .option(
      '--resume <token>',
      "go on where 'receive --resumable' was when it did not end; 'receive --resume-token' prints the token",
    )
    .option('-o, --output <file>', 'the stream, - for standard output', STANDARD_STREAM)
    .option('--compress', 'with zstd; the receiver sees it by itself')
    .option('--limit-upload <size>', 'bytes a second of the stream at most, such as 10M', parseSize)
    .action(async (name: string, options: SendCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const request = {
        name,
        output: options.output,
        isCompressed: options.compress === true,
        ...(options.from !== undefined && { from: options.from }),
        ...(options.resume !== undefined && { resume: options.resume }),
        ...(options.limitUpload ? { uploadLimit: options.limitUpload } : {}),
      };
      const { sendVolume } = await import('../send-volume.ts');
      const sent = await streaming(dataDirectory, output, 'send', (client, report) =>
        sendVolume(client, request, report),
      );
      // Standard output may be the stream: then the result goes where progress goes.
      if (options.output !== STANDARD_STREAM) output.result(sent, () => [sentText(sent)]);
      else if (output.json) console.error(JSON.stringify(sent));
      else output.progress(sentText(sent));
    });
}

function addReceive(volume: Command): void {
  volume
    .command('receive <name>')
    .description(
      'take a stream, all or nothing: a whole one into a new volume, a change into one that has the snapshot it is based on',
    )
    .option('-i, --input <file>', 'the stream, - for standard input', STANDARD_STREAM)
    .option(
      '--size <size>',
      "quota of the volume if it is made, in place of the sender's",
      parseLimit,
    )
    .option(
      '--replicas <count>',
      "copies of its data if it is made, in place of the sender's, 1 to 7",
      parseCount('--replicas', 1, 7),
    )
    .option(
      '--no-policy',
      "make the volume without the sender's quota, copies, schedule and period",
    )
    .option(
      '--force',
      'roll the volume back to the base first, whatever was changed since and whoever uses it; what it was is kept as a snapshot',
    )
    .option(
      '--resumable',
      'keep what was received of a whole snapshot when it does not end, to go on with',
    )
    .option(
      '--resume-token',
      "print what 'volume send --resume' takes to go on, and receive nothing",
    )
    .action(async (name: string, options: ReceiveCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      if (options.resumeToken === true) return printToken(name, contextOf(command));
      const { input, size, replicas, policy, force } = options;
      if (input !== STANDARD_STREAM) await checkReadable(input);
      const wanted: Partial<VolumePolicy> = {
        ...(size !== undefined && { quotaBytes: size }),
        ...(replicas !== undefined && { replicas }),
      };
      const request = {
        volume: name,
        input,
        policy: wanted,
        takesPolicy: policy,
        isResumable: options.resumable === true,
        force: force === true,
      };
      const { receiveVolume } = await import('../receive-volume.ts');
      const received = await streaming(dataDirectory, output, 'receive', (client, report) =>
        receiveVolume(client, request, report),
      );
      output.result(received, () => receivedLines(received));
    });
}

async function printToken(name: string, { dataDirectory, output }: Context): Promise<void> {
  const { receivedSoFar } = await import('../receive-progress.ts');
  const client = await connectToCluster(dataDirectory);
  try {
    const volume = await client.volumes.get(name);
    if (volume === undefined) throw new HoldfastError('NOT_FOUND', `there is no volume '${name}'`);
    const token = await receivedSoFar(client, volume);
    if (token === undefined)
      throw new HoldfastError(
        'NOT_FOUND',
        `no receive with --resumable has left anything in volume '${name}': send the whole`,
      );
    output.result({ volume: name, token }, () => [token]);
  } finally {
    await client.close();
  }
}

function sentText({ volume, snapshot, from, inodes, streamBytes }: SentVolume): string {
  const what = from === undefined ? '' : `, what changed since ${from}`;
  return `${volume}@${snapshot} sent${what}: ${inodes} files, ${bytesText(streamBytes)} of stream`;
}

function receivedLines({
  volume,
  snapshot,
  wasThere,
  kept,
  inodes,
  dataBytes,
}: ReceivedVolume): string[] {
  if (wasThere) return [`${volume}@${snapshot} was there already: nothing was changed`];
  const lines = [`${volume}@${snapshot} received: ${inodes} files, ${bytesText(dataBytes)}`];
  return kept === undefined ? lines : [...lines, `what it was before is kept as ${volume}@${kept}`];
}

/** Runs with a client of its own; SIGINT and SIGTERM stop it in order. */
async function streaming<T>(
  dataDirectory: string,
  output: Output,
  what: string,
  run: (client: ClusterClient, report: ReceiveReport) => Promise<T>,
): Promise<T> {
  const line = new ProgressLine(what, output);
  const warnings = new Warnings(output, () => line.end());
  const client = await connectToCluster(dataDirectory);
  try {
    return await run(client, {
      signal: stopReason((signal) => `stopped by ${signal}; the volume is as it was before`),
      onWarning: (path, text) => warnings.add(path, text),
      onExpected: (expected) => line.expect(expected),
      onDone: (done) => line.update(done),
    });
  } finally {
    line.end();
    warnings.end();
    await client.close();
  }
}
