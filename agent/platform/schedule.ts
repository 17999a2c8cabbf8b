import { schedule, type ScheduledTask } from 'node-cron';

export interface Job {
  cron: string;
  run: () => Promise<void> | void;
}

export interface Schedule {
  stop(): Promise<void>;
}

/** Runs jobs by local time. A job that still runs is not started again, and a job that fails is only reported. */
export function startSchedule(jobs: readonly Job[], onError: (error: unknown) => void): Schedule {
  const running = new Set<Promise<void>>();
  const tasks: ScheduledTask[] = jobs.map((job) => schedule(job.cron, () => {
    const work = Promise.resolve().then(job.run).catch(onError).finally(() => running.delete(work));
    running.add(work);
    return work;
  }, { noOverlap: true }));
  return {
    stop: async () => {
      for (const task of tasks) await task.destroy();
      await Promise.all(running);
    },
  };
}
