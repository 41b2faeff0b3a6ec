import { HoldfastError } from '@holdfast/protocol';
import type { CopyCounts } from '@holdfast/tree';
import type { Command } from 'commander';
import { connectToCluster, contextOf } from '../context.ts';
import { bytesText } from '../output.ts';
import { ProgressLine } from '../progress.ts';
import { stopReason } from '../stop-signal.ts';
import { Warnings } from '../warnings.ts';

/** `holdfast snapshot cp` */
export function addCopy(snapshot: Command): void {
  snapshot
    .command('cp <volume@name[/path]> <destination>')
    .description(
      'copy a file, a directory or all of a snapshot, with all attributes, all or nothing: to a path of this host, or to VOLUME:/PATH; into a directory that exists it goes under its own name',
    )
    .option('--overwrite', 'take the place of what has that name; a directory does so as a whole')
    .action(
      async (
        text: string,
        destination: string,
        { overwrite = false }: { readonly overwrite?: boolean },
        command: Command,
      ) => {
        const { dataDirectory, output } = contextOf(command);
        const { copyFromSnapshot, parseCopyDestination, parseCopySource } = await import(
          '../snapshot-copy.ts'
        );
        const from = parseCopySource(text);
        const to = parseCopyDestination(destination);
        const line = new ProgressLine('copy', output);
        const warnings = new Warnings(output, () => line.end());
        const client = await connectToCluster(dataDirectory);
        try {
          const report = {
            signal: stopReason((signal) => `stopped by ${signal}; nothing is left behind`),
            onExpected: line.expect.bind(line),
            onProgress: ({ files, bytes }: CopyCounts) => line.update({ files, bytes }),
            onWarning: (path: string, what: string) => warnings.add(path, what),
          };
          const { to: shown, counts } = await copyFromSnapshot(
            client,
            { from, to, overwrite },
            report,
          ).catch((error: unknown) => {
            throw explained(error);
          });
          line.end();
          const entries = counts.files + counts.directories + counts.others;
          output.result({ copied: text, to: shown, ...counts, warnings: warnings.count }, () => [
            `${text} is copied to ${shown}: ${entries} entries, ${bytesText(counts.bytes)}`,
          ]);
        } finally {
          line.end();
          warnings.end();
          await client.close();
        }
      },
    );
}

/** Says what to do about a name that is taken. */
function explained(error: unknown): unknown {
  if (!(error instanceof HoldfastError) || error.code !== 'EEXIST') return error;
  return new HoldfastError('EEXIST', `${error.message}; --overwrite takes its place`, {
    cause: error,
  });
}
