import { RuntimeError } from '../errors.js';

/** Whether a model was refused for what it computes, which another way to run it may take. */
export const isRefusal = (error: unknown): error is RuntimeError => error instanceof RuntimeError && (error.code === 'E_MODEL_OP' || error.code === 'E_MODEL_SHAPE');
