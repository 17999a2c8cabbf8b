/** What the sections of `npm run bench:fleet` are given. */
export interface FleetBenchOptions {
  devices: number;
  /** Of the steady phase. */
  seconds: number;
  /** Time within which all devices connect again. */
  stormSeconds: number;
  kills: number;
  awaySeconds: number;
  /** Of the package of the roll-out. */
  packageBytes: number;
  signal: AbortSignal;
}
