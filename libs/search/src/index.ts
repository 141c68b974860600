export * from './composition.js';
export * from './effects.js';
export * from './halving.js';
export * from './median.js';
export * from './pieces.js';
export * from './random-forest.js';
export * from './statistics.js';
export * from './tpe.js';
