/** CPU time of this process, all of its threads, that `work` takes: milliseconds. What else the machine does hardly changes it, unlike wall time. */
export async function cpuMsOf(work: () => Promise<void>): Promise<number> {
  const before = process.cpuUsage();
  await work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
