export * from './binding.js';
export * from './graph.js';
export * from './host-tensor.js';
export * from './kernels.js';
export * from './load.js';
export * from './precision.js';
