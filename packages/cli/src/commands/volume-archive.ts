import {
  ARCHIVE_FORMATS,
  type ArchiveCounts,
  type ArchiveFormat,
  formatOfName,
} from '@holdfast/archive';
import type { ClusterClient } from '@holdfast/client';
import { HoldfastError } from '@holdfast/protocol';
import { type Command, Option } from 'commander';
import { checkReadable, STANDARD_STREAM } from '../archive-files.ts';
import { connectToCluster, contextOf } from '../context.ts';
import { bytesText, type Output } from '../output.ts';
import { parseCount, parseLimit, parseSize } from '../sizes.ts';
import { stopReason } from '../stop-signal.ts';
import type { TransferReport } from '../volume-transfer.ts';
import { Warnings } from '../warnings.ts';

/** Milliseconds between two lines of progress. */
const PROGRESS_MS = 2_000;

interface ExportCommandOptions {
  readonly output: string;
  readonly format?: ArchiveFormat;
}

interface ImportCommandOptions {
  readonly format?: ArchiveFormat;
  readonly size?: number;
  readonly replicas?: number;
  readonly maxEntries?: number;
  readonly maxBytes?: number;
  readonly maxRatio?: number;
}

function formatOption(how: string): Option {
  return new Option('--format <format>', how).choices([...ARCHIVE_FORMATS]);
}

/** `holdfast volume export` and `holdfast volume import` */
export function addVolumeArchive(volume: Command): void {
  addExport(volume);
  addImport(volume);
}

function addExport(volume: Command): void {
  volume
    .command('export <volume[@snapshot]>')
    .description(
      'write the content of a volume, as it is at this moment, or of a snapshot into an archive: tar with everything, or zip',
    )
    .requiredOption(
      '-o, --output <file>',
      'the archive (.tar, .tar.gz, .tar.zst or .zip), - for standard output',
    )
    .addOption(formatOption('when the name of the file does not tell'))
    .action(async (name: string, options: ExportCommandOptions, command: Command) => {
      const { dataDirectory, output } = contextOf(command);
      const format = options.format ?? formatOfName(options.output);
      if (format === undefined)
        throw new HoldfastError(
          'BAD_REQUEST',
          `'${options.output}' does not tell the format; add --format with one of ${ARCHIVE_FORMATS.join(', ')}`,
        );
      const request = { name, output: options.output, format };
      const { exportVolume } = await import('../volume-transfer.ts');
      const counts = await transfer(dataDirectory, output, (client, report) =>
        exportVolume(client, request, report),
      );
      const facts = { volume: name, format, ...counts };
      // Standard output may be the archive: then the result goes where progress goes.
      if (options.output === STANDARD_STREAM) output.progress(summary('exported', name, counts));
      else output.result(facts, () => [summary('exported', name, counts)]);
    });
}

function addImport(volume: Command): void {
  volume
    .command('import <name> <file>')
    .description(
      'fill a new or empty volume from an archive (tar, tar.gz, tar.zst, zip; - for standard input), all or nothing',
    )
    .addOption(formatOption('when the first bytes are not to decide'))
    .option('--size <size>', 'quota of the volume if it is made, such as 10G', parseLimit)
    .option(
      '--replicas <count>',
      'copies of its data if it is made, 1 to 7',
      parseCount('--replicas', 1, 7),
    )
    .option(
      '--max-entries <count>',
      'refuse an archive of more entries',
      parseCount('--max-entries', 1, Number.MAX_SAFE_INTEGER),
    )
    .option('--max-bytes <size>', 'refuse an archive that unpacks to more', parseSize)
    .option(
      '--max-ratio <times>',
      'refuse an archive that unpacks to more than so many times its size (default 1000 for tar archives, from 256 MiB on)',
      parseCount('--max-ratio', 1, 1_000_000),
    )
    .action(
      async (name: string, input: string, options: ImportCommandOptions, command: Command) => {
        const { dataDirectory, output } = contextOf(command);
        if (input !== STANDARD_STREAM) await checkReadable(input);
        const { format, size, replicas, maxEntries, maxBytes, maxRatio } = options;
        const request = {
          name,
          input,
          format,
          limits: given({ entriesMax: maxEntries, bytesMax: maxBytes, ratioMax: maxRatio }),
          policy: given({ quotaBytes: size, replicas }),
        };
        const { importVolume } = await import('../volume-transfer.ts');
        const counts = await transfer(dataDirectory, output, (client, report) =>
          importVolume(client, request, report),
        );
        output.result({ volume: name, ...counts }, () => [summary('imported', name, counts)]);
      },
    );
}

function given(options: Record<string, number | undefined>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(options).filter((entry): entry is [string, number] => entry[1] !== undefined),
  );
}

function summary(
  what: string,
  name: string,
  { entries, bytes, archiveBytes }: ArchiveCounts,
): string {
  return `volume ${name} ${what}: ${entries} entries, ${bytesText(bytes)} of files, ${bytesText(archiveBytes)} of archive`;
}

/** Runs a transfer with a client of its own; SIGINT and SIGTERM stop it in order. */
async function transfer(
  dataDirectory: string,
  output: Output,
  run: (client: ClusterClient, report: TransferReport) => Promise<ArchiveCounts>,
): Promise<ArchiveCounts> {
  const warnings = new Warnings(output);
  let nextMs = performance.now() + PROGRESS_MS;
  const client = await connectToCluster(dataDirectory);
  try {
    return await run(client, {
      signal: stopReason((signal) => `stopped by ${signal}; nothing is left behind`),
      onWarning: (path, text) => warnings.add(path, text),
      onProgress: ({ entries, bytes }) => {
        if (performance.now() < nextMs) return;
        nextMs = performance.now() + PROGRESS_MS;
        output.progress(`${entries} entries, ${bytesText(bytes)}`);
      },
    });
  } finally {
    warnings.end();
    await client.close();
  }
}
