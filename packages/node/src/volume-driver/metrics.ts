import { Counter, Gauge, Histogram, Registry } from 'prom-client';

/** The driver's own metrics, a registry of its own because the driver is a process of its own. */
export class DriverMetrics {
  /** Where they are registered. */
  readonly registry = new Registry();
  readonly #calls = new Counter({
    name: 'holdfast_volume_driver_calls_total',
    help: 'Calls of the container engine, by call and outcome (ok or an error code)',
    labelNames: ['call', 'outcome'],
    registers: [this.registry],
  });
  readonly #duration = new Histogram({
    name: 'holdfast_volume_driver_call_seconds',
    help: 'Time until a call of the container engine was answered',
    labelNames: ['call'],
    buckets: [0.001, 0.01, 0.1, 1, 5, 10, 30],
    registers: [this.registry],
  });

  /** `mounts` counts what is mounted at the time of a look. */
  constructor(mounts: () => number) {
    new Gauge({
      name: 'holdfast_volume_driver_mounts',
      help: 'Mounts of this host without their Unmount',
      registers: [this.registry],
      collect() {
        this.set(mounts());
      },
    });
  }

  /** Starts the clock of one call; the answer stops it and counts its outcome. */
  begin(path: string): (outcome: string) => void {
    const call = path.slice(path.indexOf('.') + 1);
    const stop = this.#duration.startTimer({ call });
    return (outcome) => {
      stop();
      this.#calls.inc({ call, outcome });
    };
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  text(): Promise<string> {
    return this.registry.metrics();
  }
}
