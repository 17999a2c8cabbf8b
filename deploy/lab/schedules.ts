export type ScheduleSettings =
  | { readonly kind: 'constant' }
  /** Half a cosine from the peak to zero. */
  | { readonly kind: 'cosine' }
  /** Up to the peak along half a cosine over the first three tenths, then down to zero (Smith and Topin, arXiv 1708.07120). */
  | { readonly kind: 'one-cycle' }
  /** Half a cosine again and again, each twice as long as the one before (Loshchilov and Hutter, arXiv 1608.03983). */
  | { readonly kind: 'restarts'; readonly cycles: number };

const fall = (share: number): number => (1 + Math.cos(Math.PI * Math.min(1, share))) / 2;

/** Where in its cycle a step lies, 0..1, when each of `cycles` is twice as long as the one before. */
function placeInCycle(share: number, cycles: number): number {
  const total = 2 ** cycles - 1;
  let [start, length] = [0, 1 / total];
  while (share >= start + length && start + 2 * length < 1) [start, length] = [start + length, 2 * length];
  return (share - start) / length;
}

/** Share of the peak rate at a step of `steps`. The first `warmup` of the steps rise in a line, except in one cycle, which rises by itself. */
export function rateShare(settings: ScheduleSettings, warmup: number, step: number, steps: number): number {
  const share = step / steps;
  if (settings.kind === 'one-cycle') return share < 0.3 ? Math.max(0.04, 1 - fall(share / 0.3)) : fall((share - 0.3) / 0.7);
  if (share < warmup) return (step + 1) / Math.max(1, warmup * steps);
  const rest = (share - warmup) / Math.max(1e-9, 1 - warmup);
  switch (settings.kind) {
    case 'constant': return 1;
    case 'cosine': return fall(rest);
    case 'restarts': return fall(placeInCycle(rest, settings.cycles));
  }
}
