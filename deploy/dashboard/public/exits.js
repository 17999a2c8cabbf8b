/** How far frames went: the words and colours of exits, the same wherever the page shows them. */
export const EXITS = {
  pixels: { note: 'no motion, stopped at the pixel gate', name: 'Pixel gate', colour: '--series-3' },
  features: { note: 'nothing new, stopped at the feature gate', name: 'Feature gate', colour: '--series-5' },
  partial: { note: 'part of the picture', name: 'Part of the picture', colour: '--series-4' },
  full: { note: 'full pipeline', name: 'Full pipeline', colour: '--series-1' },
};
