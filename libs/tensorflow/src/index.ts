export * from './binding.js';
export * from './kernels.js';
export * from './load.js';
