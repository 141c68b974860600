import * as tf from '@tensorflow/tfjs-core';
import { forward } from '../networks/weights.js';
import { negativeCosine } from '../objectives.js';
import { halves, newPredictor, project, type Learner, type Method } from './method.js';
import { momentumTarget } from './momentum-target.js';

/** BYOL (Grill et al. 2020): a predictor of the online network's foretells the other view's target. */
export function byol(learner: Learner): Method {
  const predictor = newPredictor(learner.spec);
  const { project: projectByTarget, ...target } = momentumTarget(learner);
  return {
    models: [predictor],
    ...target,
    objective: (views) => {
      const [p1, p2] = halves(forward<tf.Tensor2D>(predictor, project(learner, views), true));
      const [z1, z2] = halves(projectByTarget(views));
      // Grill et al. 2020, eq. 2, both directions: 2 − 2 cos each.
      return { loss: tf.add<tf.Scalar>(tf.mul(tf.add(negativeCosine(p1, z2), negativeCosine(p2, z1)), 2), 4) };
    },
  };
}
