/** What the trainer of a run used of its machine, as metrics of the run whose keys nobody else may use. */

/** Begins their keys. Their `step` is in seconds since the first attempt of the run began. */
const PREFIX = 'system/';

/** Each with what it is, in words with its unit. */
export const USAGE_METRICS = {
  'system/cpu_percent': 'Processor, % of one core',
  'system/memory_mib': 'Memory, MiB',
  'system/gpu_percent': 'GPU in use, % of the time',
  'system/gpu_memory_mib': 'Memory of the GPU, MiB',
  'system/gpu_temperature_c': 'Temperature of the GPU, °C',
} as const;
export type UsageMetric = keyof typeof USAGE_METRICS;

/** Whether a metric says something about the machine and nothing about what was trained. */
export const isUsage = (key: string): boolean => key.startsWith(PREFIX);
