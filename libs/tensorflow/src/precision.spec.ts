import { expect, test } from 'vitest';
import { loadTensorFlow } from './load.js';
import { lackOfBfloat16, processor } from './precision.js';

const X86 = ['fpu', 'avx2', 'avx512f'];

test.each(['avx512_bf16', 'amx_bf16', 'avx_ne_convert'])('a CPU with %s multiplies in bfloat16', (flag) => {
  expect(lackOfBfloat16({ gpu: false, flags: [...X86, flag] })).toBeUndefined();
});

test.each([
  ['a CPU without', { gpu: false, flags: X86 }, /a CPU that has none of avx512_bf16, amx_bf16, avx_ne_convert/],
  ['a CPU of which nothing is known', { gpu: false, flags: [] }, /a CPU that has none/],
  ['a GPU', { gpu: true, flags: [...X86, 'avx512_bf16'] }, /a GPU, for which TensorFlow makes float16/],
])('%s does not, and it is said why', (_, machine, why) => {
  expect(lackOfBfloat16(machine)).toMatch(why);
});

test('what this machine is, is read', async () => {
  await loadTensorFlow({ threads: 1 });
  const { gpu, flags } = processor();
  expect(typeof gpu).toBe('boolean');
  if (process.platform === 'linux' && process.arch === 'x64') expect(flags).toContain('sse2');
  else expect(flags).not.toContain('sse2');
});
