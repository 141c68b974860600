/** A report as it is read, and as it is written. */
import { newKey, type Report, type WriteReport } from '#libs/contracts';
import { useRef } from 'react';
import { client, queries, SELDOM_MS, useLive } from '../data/queries.js';
import { link, useRoute } from '../route.js';
import { Copy } from '../ui/hand-out.js';
import { DeleteButton } from '../ui/sure-button.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { useTitle } from '../ui/title.js';
import { Editor } from './editor.js';
import { LiveBlock } from './report-view.js';

const Crumbs = () => (
  <p className="crumbs">
    <a href={link('reports')}>Reports</a>
  </p>
);

export function ReportPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const report = useLive(['report', id], () => client.report(id), { everyMs: SELDOM_MS });
  useTitle(report.data?.title);
  return (
    <>
      <Crumbs />
      <Loaded query={report} lines={10}>
        {(loaded) =>
          query['edit'] ? (
            <Editor
              report={loaded}
              onSave={(edited, version) => client.replaceReport(id, { ...edited, version })}
              onSaved={(saved) => {
                queries.setQueryData(['report', id], saved);
                change({ edit: '' }, 'push');
              }}
              onLeave={() => change({ edit: '' }, 'push')}
            />
          ) : (
            <Read report={loaded} onEdit={() => change({ edit: '1' }, 'push')} />
          )
        }
      </Loaded>
    </>
  );
}

/** A report that is not written yet. */
export function WriteReportPage() {
  // Save pressed again after an answer that was lost writes no second one of the same.
  const last = useRef({ text: '', key: '' });
  const write = (edited: WriteReport) => {
    const text = JSON.stringify(edited);
    if (last.current.text !== text) last.current = { text, key: newKey() };
    return client.addReport(edited, last.current.key);
  };
  return (
    <>
      <Crumbs />
      <Editor
        onSave={write}
        onSaved={({ id }) => {
          location.hash = link(`reports/${id}`);
        }}
        onLeave={() => {
          location.hash = link('reports');
        }}
      />
    </>
  );
}

function Read({ report, onEdit }: { report: Report; onEdit: () => void }) {
  const { id, title, blocks, version, updatedAt } = report;
  return (
    <article className="report">
      <div className="title">
        <h1>{title}</h1>
        <span className="actions">
          <button onClick={onEdit}>Edit</button>
          <Copy text={location.href} label="Copy its address" />
          <a className="button" href={`/v1/reports/${id}/html`} download={`report-${id}.html`}>
            Export as HTML
          </a>
          <DeleteButton name={title} next={link('reports')} onDelete={() => client.deleteReport(id)} />
        </span>
      </div>
      <p className="dim">
        Version {version}, saved <Ago at={updatedAt} />. What is under way is shown as it is now.
      </p>
      {blocks.length === 0 && (
        <Empty title="Nothing is in it yet.">
          <p>Edit it to add texts, charts, tables and maps.</p>
        </Empty>
      )}
      {blocks.map((block, i) => (
        <section key={i} className="block">
          <LiveBlock block={block} />
        </section>
      ))}
    </article>
  );
}
