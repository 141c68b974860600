export { Stopped, TrainingError, type TrainContext } from './train-context.js';
export { train } from './train.js';
