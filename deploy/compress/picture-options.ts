/** How pictures become the model's input: value = (pixel - mean) / std. */
export interface PictureOptions {
  /** One value, or one for each channel. */
  mean: readonly number[];
  std: readonly number[];
  channels: 'rgb' | 'bgr' | 'gray';
  /** letterbox: whole picture, bars; crop: centre, no bars; stretch: whole picture, distorted. */
  fit: 'letterbox' | 'crop' | 'stretch';
  /** Grey level of the bars, 0 to 255. Default 0. */
  pad?: number;
}

export const defaultPictureOptions: PictureOptions = { mean: [127.5], std: [127.5], channels: 'rgb', fit: 'letterbox' };
