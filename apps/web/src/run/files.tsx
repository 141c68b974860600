import { bytes, type Artifact, type RunDetail } from '#libs/contracts';
import { client } from '../data/queries.js';
import { Copy } from '../ui/hand-out.js';
import { Panel, Table } from '../ui/panel.js';
import { Ago } from '../ui/time.js';

export const Files = ({ run, artifacts }: { run: RunDetail; artifacts: readonly Artifact[] }) => (
  <Panel>
    <Table
      caption="Files"
      empty="No files yet."
      keys={artifacts.map(({ id }) => id)}
      head={['name', 'kind', 'step', 'size', 'sha256', 'written']}
      rows={artifacts.map((file) => [
        <a href={client.artifactUrl(run.id, file.id)} download={file.name}>
          {file.name}
        </a>,
        file.kind,
        file.step ?? '–',
        bytes(file.sizeBytes),
        <span className="line start">
          <code title={file.sha256}>{file.sha256.slice(0, 12)}…</code>
          <Copy text={file.sha256} />
        </span>,
        <Ago at={file.createdAt} />,
      ])}
    />
  </Panel>
);
