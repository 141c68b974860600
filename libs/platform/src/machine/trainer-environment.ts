/** What of a worker's environment its trainers are given. */

/** What programs, Node, the C library, TensorFlow, its kernels and GPUs go by. */
const NEEDED =
  /^(PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|TZ|TMPDIR|TMP|TEMP|GLIBC_TUNABLES|LIBTENSORFLOW_DIR|(LC|LD|DYLD|XDG|NODE|UV|MALLOC|CUDA|NVIDIA|NCCL|TF|XLA|OMP|GOMP|KMP|MKL|OPENBLAS|ONEDNN|DNNL)_[A-Z0-9_]{1,64})$/;

const isNamed = (name: string, names: readonly string[]): boolean =>
  names.some((each) => (each.endsWith('*') ? name.startsWith(each.slice(0, -1)) : name === each));

/**
 * An environment without the ways to Postgres and Redis and whatever else a service is given: a trainer decodes what
 * users bring. `more`: names of other variables that it is to have, `TEST_*` for all that begin so.
 */
export const trainerEnvironment = (source: NodeJS.ProcessEnv, more: readonly string[]): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(source).filter(([name]) => NEEDED.test(name) || isNamed(name, more)));
