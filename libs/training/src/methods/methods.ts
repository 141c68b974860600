/** The methods of pretraining by their names. */
import { byol } from './byol.js';
import { decoupledContrast, ntXent, supervisedContrast } from './contrastive-losses.js';
import { dino } from './dino.js';
import { empSsl } from './emp-ssl.js';
import { contrastTerms, halves, project, type Learner, type Method } from './method.js';
import { mocoV2, mocoV3 } from './moco.js';
import { nnclr } from './nnclr.js';
import { barlowTwins, vicreg } from './redundancy-losses.js';
import { simsiam } from './simsiam.js';
import { swav } from './swav.js';

export function methodOf(learner: Learner): Method {
  const { spec } = learner;
  switch (spec.method) {
    case 'simclr':
      return {
        models: [],
        objective: (views) => contrastTerms(ntXent(project(learner, views), spec.temperature)),
      };
    case 'dcl':
      return {
        models: [],
        objective: (views) => contrastTerms(decoupledContrast(project(learner, views), spec.temperature)),
      };
    case 'supcon':
      return {
        models: [],
        readsLabels: true,
        objective: (views, labels) =>
          contrastTerms(supervisedContrast(project(learner, views), labels!, spec.temperature)),
      };
    case 'barlow-twins':
      return { models: [], objective: (views) => barlowTwins(...halves(project(learner, views)), spec.barlowTwins) };
    case 'vicreg':
      return { models: [], objective: (views) => vicreg(...halves(project(learner, views)), spec.vicreg) };
    case 'simsiam':
      return simsiam(learner);
    case 'byol':
      return byol(learner);
    case 'moco-v2':
      return mocoV2(learner);
    case 'moco-v3':
      return mocoV3(learner);
    case 'nnclr':
      return nnclr(learner);
    case 'swav':
      return swav(learner);
    case 'dino':
      return dino(learner);
    case 'emp-ssl':
      return empSsl(learner);
  }
}
