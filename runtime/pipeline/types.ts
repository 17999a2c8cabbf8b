export type * from '../stages/types.js';
