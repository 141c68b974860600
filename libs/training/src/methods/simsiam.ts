import * as tf from '@tensorflow/tfjs-core';
import { withoutGradient } from '../networks/operations.js';
import { forward } from '../networks/weights.js';
import { negativeCosine } from '../objectives.js';
import { halves, newPredictor, project, type Learner, type Method } from './method.js';

/** SimSiam (Chen and He 2021): a predictor foretells the other view's output, which gets no gradient. */
export function simsiam(learner: Learner): Method {
  const predictor = newPredictor(learner.spec);
  return {
    models: [predictor],
    objective: (views) => {
      const z = project(learner, views);
      const [p1, p2] = halves(forward<tf.Tensor2D>(predictor, z, true));
      const [z1, z2] = halves(withoutGradient(z, (constant) => tf.clone(constant as tf.Tensor2D)));
      // Chen and He 2021, eq. 2
      return { loss: tf.mul<tf.Scalar>(tf.add(negativeCosine(p1, z2), negativeCosine(p2, z1)), 0.5) };
    },
  };
}
