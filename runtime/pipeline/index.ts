export { createPipeline } from './create.js';
export type { PipelineOptions } from './create.js';
export { openGallery } from './gallery.js';
export { enrolPictures } from './enrol.js';
export type { Enrolment, EnrolmentOptions } from './enrol.js';
export { detectionsOf } from '../stages/finding.js';
export type * from './types.js';
