export * from './augmentation.js';
export * from './dataset.js';
export * from './label-subset.js';
export { InvalidDataError, NpyWriter, Rows } from './npy.js';
export * from './prepare.js';
export * from './random.js';
export { logMel, logMelSettings, soundsOfLogMel } from './sound.js';
export * from './views.js';
export * from './wav.js';
