export { Stopped, TrainingError, type TrainContext } from './session.js';
export { train } from './train.js';
