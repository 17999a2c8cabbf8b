export { openSource } from './source.js';
export type { SourceOptions } from './source.js';
export { decodeImage, encodeJpeg, readImage } from './image.js';
export { findFfmpeg } from './ffmpeg.js';
export { isSoundInput, openSoundSource } from './sound.js';
export type { SoundOptions } from './sound.js';
