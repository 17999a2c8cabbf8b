import type { PictureDefaults } from '../../runtime/vision/decoders/family.js';
import type { Fit } from '../../runtime/vision/pixels.js';

/** How pictures become the model's input: value = (pixel - mean) / std. */
export interface PictureOptions {
  /** One value, or one for each channel. */
  mean: readonly number[];
  std: readonly number[];
  channels: 'rgb' | 'bgr' | 'gray';
  /** letterbox: whole picture, bars; crop: centre, no bars; stretch: whole picture, distorted. */
  fit: Fit;
  /** Grey level of the bars, 0 to 255. Default 0. */
  pad?: number;
}

/** Of models that nothing is assumed of, such as those that take grey pictures. */
export const defaultPictureOptions: PictureOptions = { mean: [127.5], std: [127.5], channels: 'rgb', fit: 'letterbox' };

/** What the user states, and else what is assumed. What a family wants of three channels says nothing of the levels of grey pictures. */
export function preparedAs(assumed: PictureDefaults | undefined, stated: Partial<PictureOptions>): PictureOptions {
  if (assumed === undefined) return { ...defaultPictureOptions, ...stated };
  const { channels, mean, std, fit, pad } = assumed;
  const levels = stated.channels === 'gray' ? { mean: defaultPictureOptions.mean, std: defaultPictureOptions.std } : { mean, std };
  return { channels, ...levels, fit, pad, ...stated };
}

/** What was not stated, as options of the command line: ` --mean 0 --std 255`; empty when everything was. */
export function assumedText(prepared: PictureOptions, stated: Partial<PictureOptions>): string {
  return (['channels', 'mean', 'std', 'fit'] as const).filter((name) => stated[name] === undefined).map((name) => ` --${name} ${String(prepared[name])}`).join('');
}
