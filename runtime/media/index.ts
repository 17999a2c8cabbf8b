export { openSource } from './source.js';
export type { SourceOptions } from './source.js';
export { decodeImage, encodeJpeg, readImage } from './image.js';
export { findFfmpeg } from './ffmpeg.js';
