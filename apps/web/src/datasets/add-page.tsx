/** Adds a dataset: a folder of the data root, what it would become, and the run that prepares it. */
import { isTerminal, type Run } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { useRun } from '../data/run-feed.js';
import { faultsOfSpec } from '../data/spec-faults.js';
import { link, useRoute } from '../route.js';
import { DatasetSummary } from '../run/dataset-summary.js';
import { Panel } from '../ui/panel.js';
import { Progress, Status } from '../ui/run-status.js';
import { Fault, Skeleton } from '../ui/states.js';
import { DataBrowser } from './data-browser.js';
import { Samples } from './samples.js';
import { SettingsForm } from './settings-form.js';
import { faultsOfSettings, mediumOf, nameOf, specOf, USUAL, type Settings } from './source-settings.js';

const openRun = (id: string): void => {
  location.hash = link(`runs/${id}`);
};

export function AddDatasetPage() {
  const { query, change } = useRoute();
  const { folder = '', path = folder, look } = query;
  const browsed = useLive(['data-root', folder], () => client.dataRoot(folder), { live: false, keep: true });
  const [typed, setTyped] = useState<Partial<Settings>>({});
  const settings: Settings = {
    ...USUAL,
    name: nameOf(path),
    medium: browsed.data && !browsed.isPlaceholderData ? mediumOf(browsed.data.found) : 'images',
    ...typed,
    path,
  };
  const submit = useMutation({
    mutationFn: async ({ dryRun }: { dryRun: boolean }): Promise<Run> => {
      const spec = { ...specOf(settings), ...(dryRun && { dryRun }) };
      // Files may have changed since they were looked at.
      return (await client.submitRun({ spec, onDuplicate: 'replicate' })).run;
    },
    onSuccess: (run, { dryRun }) => {
      void refresh();
      if (dryRun) change({ look: run.id });
      else openRun(run.id);
    },
  });
  const set = (next: Partial<Settings>) => {
    submit.reset();
    if (next.path !== undefined) change({ path: next.path, look: '' });
    setTyped({ ...typed, ...next });
  };
  const choose = (next: { folder?: string; path: string }) => {
    submit.reset();
    setTyped({});
    change({ ...next, look: '' }, 'push');
  };
  const own = faultsOfSettings(settings);
  const told = own.size > 0 ? own : faultsOfSpec(submit.error);
  const ready = own.size === 0 && !submit.isPending;
  return (
    <>
      <p className="crumbs">
        <a href={link('datasets')}>Datasets</a>
      </p>
      <h1>Add a dataset</h1>
      <div className="columns">
        <div>
          <DataBrowser
            query={browsed}
            folder={folder}
            chosen={path}
            onFolder={(next) => choose({ folder: next, path: next })}
            onFile={(next) => choose({ path: next })}
          />
        </div>
        <div>
          <SettingsForm settings={settings} faults={told} onChange={set}>
            <p className="actions">
              <button className="primary" disabled={!ready} onClick={() => submit.mutate({ dryRun: true })}>
                Look
              </button>
              <button disabled={!ready} onClick={() => submit.mutate({ dryRun: false })}>
                Prepare
              </button>
            </p>
            <p className="dim">
              Look decodes everything and prepares nothing: it says which classes there are, what would be left out and
              why, and shows samples.
            </p>
          </SettingsForm>
        </div>
      </div>
      {look && <Look key={look} id={look} />}
    </>
  );
}

/** What a dry run found, as it goes. */
function Look({ id }: { id: string }) {
  const { run, artifacts, error, again } = useRun(id);
  if (!run) return error === undefined ? <Skeleton /> : <Fault error={error} again={again} />;
  return (
    <>
      {run.status !== 'succeeded' && (
        <Panel title="Looking">
          <p>
            <Status status={run.status} reason={run.statusReason} /> <a href={link(`runs/${id}`)}>Its run</a>
          </p>
          {!isTerminal(run.status) && <Progress run={run} attempt={run.attempts.at(-1)} />}
          {run.statusDetail && <p className="detail">{run.statusDetail}</p>}
        </Panel>
      )}
      {run.result?.summary && <DatasetSummary summary={run.result.summary} />}
      <Samples run={run} artifacts={artifacts} />
    </>
  );
}
