/** How far frames and pieces of sound went: the words and colours of exits, the same wherever the page shows them. */
export const EXITS = {
  pixels: { note: 'no motion, stopped at the pixel gate', name: 'Pixel gate', colour: '--series-3' },
  features: { note: 'nothing new, stopped at the feature gate', name: 'Feature gate', colour: '--series-5' },
  partial: { note: 'part of the picture', name: 'Part of the picture', colour: '--series-4' },
  silence: { note: 'nothing to hear', name: 'Silence', colour: '--muted' },
  late: { note: 'dropped, because it would have been late', name: 'Late', colour: '--bad' },
  full: { note: 'full pipeline', name: 'Full pipeline', colour: '--series-1' },
};
