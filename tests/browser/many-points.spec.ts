/** A map of very many points, in a real Chromium: what it costs is measured, so that nothing runs beside it. */
import { test } from 'vitest';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { movesManyPoints } from '../support/many-points.js';
import { prepareStripes, SHORT } from '../support/small-runs.js';

describeInBrowser('a map of very many points', () => {
  const dashboard = dashboardOf(async (stack) => {
    await prepareStripes(stack);
    stack.startWorker();
    const from = await stack.submit({ ...SHORT }, { name: 'seen' });
    const embed = await stack.submit(
      { kind: 'embed', dataset: 'stripes', split: 'train', maxSamples: 120, maps: ['pca'], from },
      { name: 'map-of-seen' },
    );
    await stack.ended(embed);
    return embed;
  });

  test('two hundred thousand points are moved within a frame, and have contours and clusters', async () => {
    // A processor that plays the graphics card has fewer pixels to fill in a smaller window.
    const page = await dashboard.open('#/', { width: 800, height: 700 });
    await movesManyPoints(page, dashboard.stack.client, dashboard.made);
  }, 900_000);
});
