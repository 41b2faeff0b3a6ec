export { Schedule } from './cron.ts';
export { type KeepRule, parseKeep } from './keep.ts';
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
