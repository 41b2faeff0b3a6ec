export { Schedule } from './cron.ts';
export {
  chooseJob,
  dueJob,
  type JobChoice,
  type JobProgress,
  periodOf,
  retryPauseMs,
} from './jobs.ts';
export { type KeepRule, parseBackupKeep, parseKeep } from './keep.ts';
export { parsePeriod, periodText } from './period.ts';
export {
  dueRun,
  isLate,
  type PresentSnapshot,
  planRun,
  type RunPlan,
  type ScheduleProgress,
  scheduledName,
  scheduledTime,
} from './plan.ts';
export {
  applyRetention,
  type RetentionDecision,
  type RetentionPolicy,
  type TimedSnapshot,
} from './retention.ts';
