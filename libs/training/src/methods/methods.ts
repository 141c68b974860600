/** The methods of pretraining by their names. */
import { byol } from './byol.js';
import { ntXent } from './contrastive-losses.js';
import { halves, project, type Learner, type Method } from './method.js';
import { barlowTwins, vicreg } from './redundancy-losses.js';
import { simsiam } from './simsiam.js';

export function methodOf(learner: Learner): Method {
  const { spec } = learner;
  switch (spec.method) {
    case 'simclr':
      return {
        models: [],
        objective: (views) => {
          const { loss, accuracy } = ntXent(project(learner, views), spec.temperature);
          return { loss, contrastive_accuracy: accuracy };
        },
      };
    case 'barlow-twins':
      return { models: [], objective: (views) => barlowTwins(...halves(project(learner, views)), spec.barlowTwins) };
    case 'vicreg':
      return { models: [], objective: (views) => vicreg(...halves(project(learner, views)), spec.vicreg) };
    case 'simsiam':
      return simsiam(learner);
    case 'byol':
      return byol(learner);
  }
}
