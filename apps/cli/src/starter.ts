/** A sweep to start from: what `loom init` writes. */
import { METHODS } from '#libs/contracts';

/** A commented sweep in YAML, valid as it stands, of a dataset by its name. Small enough to be tried on a laptop. */
export const starterSweep = (dataset: string): string => `\
# Which views need the fewest labels? Each trial pretrains an encoder without labels, then tunes it on a few of them.
#   loom plan FILE              what this would start, what is reused and what it costs, before anything is spent
#   loom submit FILE --watch    start it and follow it
#   loom sweep ID               its table
# Every field, its range and its default: /docs of the API. More sweeps: examples/.
name: views

# What trials are compared by: a metric of the last stage. Numbers are of the last step.
metric: {name: eval/accuracy, goal: maximize}

# Runs that follow each other. \`from\` names the stage whose encoder is taken; equal runs are trained once and shared.
stages:
  pretrain:
    kind: pretrain
    dataset: ${dataset}          # a name (its newest version) or name@digest: \`loom datasets list\`
    method: simclr            # or ${METHODS.slice(1).join(', ')}
    epochs: 8
    batchSize: 128
    encoder: {name: small-resnet, width: 16}
    optimizer: {name: adam, learningRate: 0.004}
    schedule: {warmupSteps: 50}
    # collapseBelow: 0.1      # ends a pretraining whose features fall together
  finetune:
    kind: finetune
    dataset: ${dataset}
    from: pretrain
    steps: 300
    batchSize: 16             # at most as many as there are labels at the smallest fraction

# What is varied. A parameter is the path of the field that it sets; every combination is a trial.
parameters:
  pretrain.augmentation:
    values:
      - {crop: {minArea: 0.2}}
      - {crop: {minArea: 0.2}, flip: {}}
      - {crop: {minArea: 0.2}, flip: {}, blur: {}}
  # pretrain.temperature: {values: [0.1, 0.5]}

# Instead of writing out augmentations: each alone and each two together, as a heat map.
# augmentations: {pairs: {of: [crop, flip, blur, rotate]}}

# How many of the labels are used: accuracy at few labels is what pretraining is for.
label_fractions: [0.1, 1]

# The same with other labels drawn, so that the table has confidence intervals.
# seeds: 3

# The same network on the same labels without pretraining: what a gain is measured against.
controls: [scratch]

# Limits.
# parallel_trials: 2
# max_failed_trials: 3
# budget: {gpu_seconds: 3600}
`;
