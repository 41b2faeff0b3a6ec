/** What the lab could not do, with the tail of the log or of the command's standard error. */
export class LabError extends Error {
  override readonly name = 'LabError';
}
