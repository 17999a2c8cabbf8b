export const NONE = '–';

/** 3 significant digits: 0.0123, 1.23, 12.3, 123. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (value === 0) return '0';
  const magnitude = Math.floor(Math.log10(Math.abs(value)));
  const decimals = Math.min(3, Math.max(0, digits - 1 - magnitude));
  return value.toFixed(decimals);
}

export const ms = (value) => (value === null || value === undefined ? NONE : `${number(value)} ms`);

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1000) return `${value} B`;
  const units = ['kB', 'MB', 'GB', 'TB'];
  let scaled = value / 1000;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${number(scaled)} ${units[unit]}`;
}

/** Joules as a pair of figure and unit. Always mJ: a figure that changes its unit cannot be followed. */
export function millijoules(value) {
  return value === null || value === undefined ? [NONE, ''] : [number(value * 1e3), 'mJ'];
}

export const percent = (share) => (Number.isFinite(share) ? `${(share * 100).toFixed(share > 0.1 || share === 0 ? 0 : 1)} %` : NONE);
export const count = (value) => (value === null || value === undefined ? NONE : value.toLocaleString('en'));
export const time = (epochMs) => new Date(epochMs).toLocaleTimeString('en-GB');
export const celsius = (value) => (value === null || value === undefined ? NONE : `${value.toFixed(1)} °C`);

export function duration(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min${seconds % 60 === 0 ? '' : ` ${seconds % 60} s`}`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

export const hertz = (value) => (value >= 1e9 ? `${number(value / 1e9)} GHz` : `${number(value / 1e6)} MHz`);
export const shortDigest = (digest) => digest.slice(0, 12);
