#!/usr/bin/env node
/**
 * Makes a checkout ready to run: packages, the TensorFlow runtime, the Prisma client, Redis, the build. Runs on plain
 * Node 20 without packages. Every step is skipped when it has been done, and one that fails says in one sentence what
 * is missing; the next run goes on from there.
 *
 *   node scripts/setup.mjs [demo|test|e2e|clients|check|bench …] [--quiet]
 */
import { existsSync } from 'node:fs';
import { compileBinding } from './setup/binding.mjs';
import { build, generatePrismaClient } from './setup/build.mjs';
import { installGenerators } from './setup/clients.mjs';
import { installPackages, linkPostgres } from './setup/packages.mjs';
import { openUmask } from './setup/shared-cache.mjs';
import { Missing, node, platform, say, seconds } from './setup/step.mjs';
import { provideChromium, providePgBouncer, provideRedis } from './setup/system-packages.mjs';
import { installTensorFlow } from './setup/tensorflow.mjs';

openUmask();
const MODES = ['demo', 'test', 'e2e', 'clients', 'check', 'bench'];
const given = process.argv.slice(2).filter((argument) => !argument.startsWith('-'));
const modes = given.length > 0 ? given : ['demo'];
const isFor = (...some) => some.some((mode) => modes.includes(mode));

try {
  const unknown = modes.find((mode) => !MODES.includes(mode));
  if (unknown !== undefined) throw new Missing(`expected some of ${MODES.join(', ')}, got ${unknown}`);
  if (Number(process.versions.node.split('.')[0]) < 20)
    throw new Missing(`Node 20 or newer is needed to start, this is ${process.versions.node}.`);
  const started = performance.now();
  // Beside all else: they need nothing of it, and mostly wait for the network.
  const generators = isFor('clients') ? installGenerators() : Promise.resolve();
  generators.catch(() => undefined);
  await installPackages();
  if (!existsSync(node()))
    throw new Missing(`The packages bring no Node for ${platform}: use Linux or macOS on x64 or arm64.`);
  if (modes.some((mode) => mode !== 'check')) {
    await linkPostgres();
    await provideRedis();
    if (isFor('test', 'e2e')) await providePgBouncer();
    if (isFor('e2e')) await provideChromium();
  }
  await compileBinding(await installTensorFlow());
  await generatePrismaClient();
  await build();
  await generators;
  if (performance.now() - started > 5000) say(`ready in ${seconds(started)}`);
} catch (error) {
  process.stderr.write(`setup: ${error instanceof Missing ? error.message : (error?.message ?? error)}\n`);
  process.exit(1);
}
