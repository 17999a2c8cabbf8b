import { percent } from './format.js';

/** How a finding of any type is put into words: by who it is, where a gallery says so, and else by its label. */
export function nameOf({ identity, label }) {
  if (identity) return identity.name;
  return identity === null ? 'Unknown' : capitalized(label);
}

export const detailOf = ({ identity, label, score, track }) => {
  const sight = identity ? `similarity ${identity.similarity.toFixed(2)}` : `${identity === null ? `${label} ` : ''}${percent(score)}`;
  return track === undefined ? sight : `${sight} · track ${track}`;
};

/** known: somebody of the gallery; unknown: a stranger; thing: it has no identity. */
export const classOf = ({ identity }) => (identity ? 'known' : identity === null ? 'unknown' : 'thing');

const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);
