import type { Artifact } from '#libs/contracts';
import { client, useReport } from '../data/queries.js';
import { Panel } from '../ui/panel.js';
import { Loaded } from '../ui/states.js';
import { ClassScores, type ClassReport } from './class-scores.js';

/** What a run has found of its classes, where it classifies. */
export function Classification({ artifacts }: { artifacts: readonly Artifact[] }) {
  const artifact = artifacts.findLast(({ name, kind }) => name === 'classification.json' && kind === 'report');
  return artifact ? <Report url={client.artifactUrl(artifact.runId, artifact.id)} /> : null;
}

function Report({ url }: { url: string }) {
  const report = useReport<ClassReport>(url);
  return (
    <Panel title="Classes">
      <Loaded query={report} lines={4}>
        {(found) => <ClassScores {...found} />}
      </Loaded>
    </Panel>
  );
}
