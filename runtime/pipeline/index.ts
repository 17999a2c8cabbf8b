export { createPipeline } from './create.js';
export type { PipelineOptions } from './create.js';
export { openGallery } from './gallery.js';
export type * from './types.js';
