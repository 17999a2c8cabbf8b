import { percent } from './format.js';

/** How a finding of any type is put into words: by who it is, where a gallery says so, and else by its label. */
export function nameOf({ identity, label, liveness }) {
  if (identity) return identity.name;
  if (liveness?.live === false) return `Picture of a ${label}`;
  return identity === null ? 'Unknown' : capitalized(label);
}

export const detailOf = ({ identity, label, score, track, liveness }) => {
  const sight = liveness?.live === false ? `live by ${percent(liveness.score)}` : identity ? `similarity ${identity.similarity.toFixed(2)}` : `${identity === null ? `${label} ` : ''}${percent(score)}`;
  return track === undefined ? sight : `${sight} · track ${track}`;
};

/** known: somebody of the gallery; unknown: a stranger; thing: it has no identity. */
export const classOf = ({ identity }) => (identity ? 'known' : identity === null ? 'unknown' : 'thing');

const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);
