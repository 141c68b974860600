export { Stopped, TrainingError, type TrainContext } from './session.js';
export { loadTensorFlow } from './tensorflow.js';
export { train } from './train.js';
