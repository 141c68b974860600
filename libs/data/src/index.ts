export * from './augmentation.js';
export * from './dataset.js';
export * from './label-subset.js';
export * from './native.js';
export { InvalidDataError, NpyWriter, Rows } from './npy.js';
export * from './prepare.js';
export * from './random.js';
export * from './views.js';
