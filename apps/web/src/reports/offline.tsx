/** A report in a file of its own: drawn from what is in the file, without asking anybody for anything. */
import type { BlockContent, Report } from '#libs/contracts';
import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import '../style.css';
import { BlockView } from './blocks.js';

/** As the API writes it into the file. */
interface OfflineReport {
  report: Report;
  contents: BlockContent[];
  at: string;
  dashboard: string;
}

const { report, contents, at, dashboard } = JSON.parse(document.getElementById('report')!.textContent) as OfflineReport;

/** Links to runs and pages lead to the dashboard that the report was taken from. */
function leadHome(event: Event): void {
  const anchor = (event.target as Element).closest('a[href^="#/"]');
  anchor?.setAttribute('href', `${dashboard}/${anchor.getAttribute('href')}`);
}

document.documentElement.classList.add('alone');
for (const kind of ['click', 'auxclick', 'contextmenu', 'focusin', 'pointerover'])
  document.addEventListener(kind, leadHome, true);
createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <main className="report">
      <h1>{report.title}</h1>
      <p className="dim">
        As it was at {at.slice(0, 16).replace('T', ' ')} UTC,{' '}
        <a href={`#/reports/${report.id}`}>in version {report.version}</a>
      </p>
      {report.blocks.map((block, i) => (
        <section key={i} className="block">
          <BlockView block={block} content={contents[i]!} />
        </section>
      ))}
    </main>
  </StrictMode>,
);
