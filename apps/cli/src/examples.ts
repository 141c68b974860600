/** How each command is used, for its help. */
import type { Command } from 'commander';

/** By the command's words; ids are left as words in capitals. */
const EXAMPLES: Record<string, string[]> = {
  up: ['loom up --data-root ~/images', 'loom up --workers 2 --port 3100'],
  down: ['loom down', 'loom down --dir /srv/loom'],
  status: ['loom status', 'loom status --json | jq .counts'],
  submit: [
    'loom submit examples/sweep.yaml --watch',
    'loom submit run.yaml --watch --cancel-on-interrupt',
    'id=$(loom submit --quiet run.yaml)',
    'loom submit run.yaml --max-seconds 3600',
    'loom init - --dataset digits | loom submit -',
  ],
  plan: ['loom plan examples/sweep.yaml', 'loom plan sweep.yaml --json | jq .newRuns'],
  why: ['loom why RUN', 'loom why RUN OTHER'],
  runs: [
    'loom runs --status running,queued',
    'loom runs --kind pretrain --sort -metric:eval/knn --limit 10',
    'loom runs --view good',
    'loom runs --archived yes',
    'loom runs --status failed --json | jq -r .items[].id',
  ],
  groups: ['loom groups --by spec:method --metric eval/knn', 'loom groups --by status,project --tag new'],
  views: ['loom views', 'loom views --json | jq -r .items[].name'],
  'views set': ['loom views set good --where "eval/knn>0.5" --sort -metric:eval/knn', 'loom views set mine --tag mine'],
  'views list': ['loom views list', 'loom views list --json | jq -r .items[].name'],
  'views delete': ['loom views delete good'],
  reports: ['loom reports', 'loom reports --json | jq -r .items[].id'],
  'reports list': ['loom reports list', 'loom reports list --json | jq -r .items[].title'],
  'reports show': ['loom reports show REPORT', 'loom reports show "Views, week 12" --json > report.json'],
  'reports add': ['loom reports add report.yaml', 'loom reports add notes.md'],
  'reports replace': ['loom reports replace REPORT report.json'],
  'reports delete': ['loom reports delete REPORT'],
  'reports export': ['loom reports export REPORT', 'loom reports export REPORT --out week-12.html --force'],
  run: ['loom run RUN', 'loom run best:SWEEP', 'loom run RUN --json | jq .result.metrics'],
  watch: ['loom watch RUN', 'loom watch RUN OTHER && echo both succeeded', 'loom watch SWEEP'],
  logs: ['loom logs RUN', 'loom logs RUN --follow'],
  compare: ['loom compare RUN OTHER', 'loom compare RUN OTHER THIRD --every-field'],
  reproduce: [
    'loom reproduce RUN',
    'loom reproduce RUN --tolerance 0 && echo bit for bit',
    'loom reproduce RUN --print > reproduce.sh',
  ],
  sweep: [
    'loom sweep SWEEP',
    'loom sweep SWEEP --pause',
    'loom sweep SWEEP --parallel-trials 2 --gpu-seconds 36000',
    'loom sweep SWEEP --clone views-2',
    'loom sweep SWEEP --archive --with-runs',
    'loom sweep SWEEP --delete --with-runs',
  ],
  sweeps: [
    'loom sweeps --status running',
    'loom sweeps --where "eval/knn>0.5" --sort -metric:eval/knn',
    'loom sweeps --json | jq -r .items[0].id',
  ],
  trials: ['loom trials SWEEP --sort -metric:eval/knn --limit 5', 'loom trials SWEEP --status failed'],
  cancel: ['loom cancel RUN OTHER', 'loom cancel --sweep SWEEP', 'loom cancel --status queued --tag demo --dry-run'],
  pause: ['loom pause RUN', 'loom pause --kind pretrain --dry-run'],
  resume: ['loom resume RUN', 'loom resume --status paused'],
  retry: ['loom retry RUN', 'loom retry --status failed --sweep SWEEP'],
  archive: ['loom archive RUN OTHER', 'loom archive --status failed --dry-run'],
  unarchive: ['loom unarchive RUN', 'loom unarchive --tag demo'],
  delete: ['loom delete RUN OTHER', 'loom delete --status failed --tag demo --dry-run'],
  tag: [
    'loom tag RUN OTHER --add good',
    'loom tag --where "eval/knn>0.5" --add good --remove new',
    'loom tag --sweep SWEEP --add views --dry-run',
  ],
  change: ['loom change RUN --name baseline --notes "before the new views"', 'loom change RUN --priority 90'],
  artifacts: ['loom artifacts RUN', 'loom artifacts RUN --download files', 'loom artifacts RUN --add report.html'],
  export: ['loom export RUN', 'loom export RUN --format onnx,safetensors --out model'],
  datasets: ['loom datasets list', 'loom datasets add digits ~/images/digits'],
  'datasets browse': ['loom datasets browse', 'loom datasets browse images --json | jq .found'],
  'datasets list': ['loom datasets list', 'loom datasets list --json | jq -r .items[].name'],
  'datasets delete': ['loom datasets delete digits@0123456789ab'],
  'datasets add': ['loom datasets add cifar10', 'loom datasets add digits digits.tar.gz --image-size 28'],
  models: ['loom models list', 'loom models add resnet18 resnet18.safetensors --as resnet18'],
  'models list': ['loom models list', 'loom models list --json | jq -r .items[].name'],
  'models show': ['loom models show resnet18', 'loom models show resnet18 --json | jq .manifest.encoder'],
  'models delete': ['loom models delete resnet18@0123456789ab'],
  'models add': [
    'loom models add resnet18 resnet18.safetensors --as resnet18',
    'loom models add gray gray.safetensors --as resnet50 --mean 0.5 --std 0.25',
    'loom models add mine encoder.safetensors',
    'loom models add keras model/model.json',
  ],
  workers: ['loom workers', 'loom workers --json | jq -r .[].id'],
  projects: ['loom projects', 'loom projects --json | jq -r .[].name'],
  'projects set': [
    'loom projects set vision --weight 3',
    'loom projects set vision --max-running 4 --gpu-seconds none',
  ],
  drain: ['loom drain WORKER'],
  gc: ['loom gc --dry-run', 'loom gc'],
  demo: ['loom demo --quick', 'loom demo --dataset ~/images/pets.tar.gz --out results.json'],
  init: ['loom init', 'loom init sweep.yaml --dataset digits && loom plan sweep.yaml', 'loom init -'],
  completion: ['eval "$(loom completion bash)"', 'loom completion fish > ~/.config/fish/completions/loom.fish'],
};

/** Puts the examples below the help of each command. */
export function addExamples(command: Command, words: readonly string[] = []): void {
  for (const inner of command.commands) addExamples(inner, [...words, inner.name()]);
  const examples = EXAMPLES[words.join(' ')];
  if (examples) command.addHelpText('after', `\nExamples:\n${examples.map((line) => `  ${line}\n`).join('')}`);
  if (words.length === 0) {
    command.addHelpText(
      'after',
      `
Exit codes: 0 done; 1 a run failed, or was not reproduced; 2 the request was wrong; 3 nobody answers, \
or the stack can't be started; 130 Ctrl-C.
loom COMMAND --help shows examples; docs/cli.md has the rest.`,
    );
  }
}
