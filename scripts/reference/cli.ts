import { makeProgram } from '../../packages/cli/src/program.ts';
import { GENERATED } from './markdown.ts';

type Command = Awaited<ReturnType<typeof makeProgram>>;

/** Columns of help in the page, whatever terminal makes it. */
const COLUMNS = 100;

/** docs/cli.md */
export async function cliPage(): Promise<string> {
  const program = await makeProgram();
  const sections = commandsOf(program).map(({ path, command }) => {
    const level = path.includes(' ') ? '##' : '#';
    return `${level} ${path}\n\n\`\`\`text\n${helpOf(command)}\n\`\`\`\n`;
  });
  return `${GENERATED}${sections.join('\n')}
## Exit status

| status | meaning |
| --- | --- |
| 0 | done |
| 1 | failure |
| 2 | usage: an unknown or malformed command, option or value |
| 3 | the cluster cannot be reached |
| 4 | not found |
| 5 | conflict with what is there |

Results go to standard output, errors and progress to standard error. With \`--json\` an error is one
line, \`{"error": {"code", "message", "detail"}}\`; [errors.md](errors.md) lists the codes.
`;
}

interface Named {
  readonly path: string;
  readonly command: Command;
}

function commandsOf(command: Command, above = ''): Named[] {
  const path = `${above}${command.name()}`;
  return [{ path, command }, ...command.commands.flatMap((child) => commandsOf(child, `${path} `))];
}

/** As `--help` prints it, with what is added after. */
function helpOf(command: Command): string {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => COLUMNS,
    getOutHasColors: () => false,
  });
  command.outputHelp();
  return text.trimEnd();
}
