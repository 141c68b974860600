import { client, SELDOM_MS, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Pager, usePages } from '../ui/pager.js';
import { Panel, Table } from '../ui/panel.js';
import { Damaged, Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';

export function ReportsPage() {
  const { trail, cursor } = usePages();
  const reports = useLive(
    ['reports', cursor],
    () => client.reports({ limit: 50, ...(cursor !== undefined && { cursor }) }),
    { everyMs: SELDOM_MS, keep: true },
  );
  return (
    <>
      <div className="title">
        <h1>Reports</h1>
        <a className="button primary" href={link('write-report')}>
          New report
        </a>
      </div>
      <Damaged rows={reports.data?.damaged} />
      <Loaded query={reports} lines={6}>
        {({ items, nextCursor }) => (
          <Panel className="flush">
            <Table
              caption="Reports"
              empty={
                <Empty title="No reports yet.">
                  <p>
                    A report is a page of text, charts, tables and maps that stays with the runs: for the team by its
                    address, for others as a file. <a href={link('write-report')}>Write the first</a>
                  </p>
                </Empty>
              }
              keys={items.map(({ id }) => id)}
              head={['report', 'changed', 'written', 'version']}
              rows={items.map(({ id, title, version, createdAt, updatedAt }) => [
                <a href={link(`reports/${id}`)}>{title}</a>,
                <Ago at={updatedAt} />,
                <Ago at={createdAt} />,
                version,
              ])}
            />
            {(trail.length > 0 || nextCursor !== null) && <Pager trail={trail} nextCursor={nextCursor} />}
          </Panel>
        )}
      </Loaded>
    </>
  );
}
