import { cliPage } from './cli.ts';
import { errorsPage } from './errors.ts';
import { metricsPage } from './metrics.ts';

/** The pages of docs/ that are made from the code, by file name. */
export const PAGES: Readonly<Record<string, () => string | Promise<string>>> = {
  'cli.md': cliPage,
  'errors.md': errorsPage,
  'metrics.md': metricsPage,
};
