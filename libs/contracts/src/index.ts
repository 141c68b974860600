export * from './client.js';
export * from './dataset.js';
export * from './http.js';
export * from './run-spec.js';
export * from './run-status.js';
export * from './statistics.js';
export * from './sweep.js';
export * from './trainer-protocol.js';
