import { QueryClientProvider } from '@tanstack/react-query';
import {
  Component,
  lazy,
  StrictMode,
  Suspense,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
  type ReactNode,
} from 'react';
import { createRoot } from 'react-dom/client';
import { offline } from './data/connection.js';
import { queries } from './data/queries.js';
import { useWatched } from './data/watched.js';
import { NoticesLink, Unseen } from './notices/unseen.js';
import { OverviewPage } from './overview/overview-page.js';
import { link, useRoute, type Route } from './route.js';
import './style.css';
import { Empty, Fault, Skeleton } from './ui/states.js';
import { Icon } from './ui/icon.js';

// Pages that the first view does not need are loaded when they are asked for.
const RunsPage = lazy(() => import('./runs/runs-page.js').then(({ RunsPage: page }) => ({ default: page })));
const RunPage = lazy(() => import('./run/run-page.js').then(({ RunPage: page }) => ({ default: page })));
const ComparePage = lazy(() => import('./runs/compare-page.js').then(({ ComparePage: page }) => ({ default: page })));
const SweepPage = lazy(() => import('./sweep/sweep-page.js').then(({ SweepPage: page }) => ({ default: page })));
const SweepsPage = lazy(() => import('./sweep/sweeps-page.js').then(({ SweepsPage: page }) => ({ default: page })));
const MachinesPage = lazy(() =>
  import('./overview/machines-page.js').then(({ MachinesPage: page }) => ({ default: page })),
);
const MapsPage = lazy(() => import('./map/maps-page.js').then(({ MapsPage: page }) => ({ default: page })));
const MapPage = lazy(() => import('./map/map-page.js').then(({ MapPage: page }) => ({ default: page })));
const DatasetsPage = lazy(() =>
  import('./datasets/datasets-page.js').then(({ DatasetsPage: page }) => ({ default: page })),
);
const DatasetPage = lazy(() =>
  import('./datasets/dataset-page.js').then(({ DatasetPage: page }) => ({ default: page })),
);
const AddDatasetPage = lazy(() =>
  import('./datasets/add-page.js').then(({ AddDatasetPage: page }) => ({ default: page })),
);
const ModelsPage = lazy(() => import('./models/models-page.js').then(({ ModelsPage: page }) => ({ default: page })));
const ModelPage = lazy(() => import('./models/model-page.js').then(({ ModelPage: page }) => ({ default: page })));
const AddModelPage = lazy(() => import('./models/add-page.js').then(({ AddModelPage: page }) => ({ default: page })));
const NoticesPage = lazy(() =>
  import('./notices/notices-page.js').then(({ NoticesPage: page }) => ({ default: page })),
);
const ReportsPage = lazy(() =>
  import('./reports/reports-page.js').then(({ ReportsPage: page }) => ({ default: page })),
);
const ReportPage = lazy(() => import('./reports/report-page.js').then(({ ReportPage: page }) => ({ default: page })));
const WriteReportPage = lazy(() =>
  import('./reports/report-page.js').then(({ WriteReportPage: page }) => ({ default: page })),
);
const SubmitPage = lazy(() => import('./submit/submit-page.js').then(({ SubmitPage: page }) => ({ default: page })));

const PAGES = [
  ['', 'Overview', 'overview'],
  ['runs', 'Runs', 'runs'],
  ['sweeps', 'Sweeps', 'sweeps'],
  ['maps', 'Latent maps', 'map'],
  ['reports', 'Reports', 'reports'],
  ['datasets', 'Datasets', 'datasets'],
  ['models', 'Models', 'models'],
  ['machines', 'Workers', 'machines'],
  ['new', 'New', 'plus'],
] as const;

/** Pages that belong to another in the navigation. */
const SECTIONS: Record<string, string> = {
  compare: 'runs',
  'write-report': 'reports',
  'add-dataset': 'datasets',
  'add-model': 'models',
};

interface View {
  title: string;
  content: ReactNode;
}

/** Pages by the first part of their address; those that are of one thing get its id, or its name, as the second. */
const VIEWS: Record<string, (id: string | undefined) => View> = {
  '': () => ({ title: 'Overview', content: <OverviewPage /> }),
  runs: (id) =>
    id ? { title: 'Run', content: <RunPage key={id} id={id} /> } : { title: 'Runs', content: <RunsPage /> },
  compare: () => ({ title: 'Compare', content: <ComparePage /> }),
  sweeps: (id) =>
    id ? { title: 'Sweep', content: <SweepPage key={id} id={id} /> } : { title: 'Sweeps', content: <SweepsPage /> },
  maps: (id) =>
    id
      ? { title: 'Latent map', content: <MapPage key={id} id={id} /> }
      : { title: 'Latent maps', content: <MapsPage /> },
  reports: (id) =>
    id ? { title: 'Report', content: <ReportPage key={id} id={id} /> } : { title: 'Reports', content: <ReportsPage /> },
  'write-report': () => ({ title: 'New report', content: <WriteReportPage /> }),
  datasets: (id) =>
    id
      ? { title: 'Dataset', content: <DatasetPage key={id} name={id} /> }
      : { title: 'Datasets', content: <DatasetsPage /> },
  'add-dataset': () => ({ title: 'Add a dataset', content: <AddDatasetPage /> }),
  models: (id) =>
    id ? { title: 'Model', content: <ModelPage key={id} name={id} /> } : { title: 'Models', content: <ModelsPage /> },
  'add-model': () => ({ title: 'Add a model', content: <AddModelPage /> }),
  notices: () => ({ title: 'Notices', content: <NoticesPage /> }),
  machines: () => ({ title: 'Workers', content: <MachinesPage /> }),
  new: () => ({ title: 'New sweep or run', content: <SubmitPage /> }),
};

const NOWHERE: View = {
  title: 'Not found',
  content: (
    <>
      <h1>Not found</h1>
      <Empty title="There is no such page.">
        <a href="#/">To the overview</a>
      </Empty>
    </>
  ),
};

const page = ({ path: [name = '', id] }: Route): View => (Object.hasOwn(VIEWS, name) ? VIEWS[name]!(id) : NOWHERE);

/** A fault in one page leaves the others. */
class Guard extends Component<{ children: ReactNode }, { error?: unknown }> {
  override state: { error?: unknown } = {};
  static getDerivedStateFromError(error: unknown) {
    return { error };
  }
  override render() {
    return this.state.error === undefined ? (
      this.props.children
    ) : (
      <Fault error={this.state.error} again={() => location.reload()} />
    );
  }
}

type Theme = 'auto' | 'light' | 'dark';
function ThemeSwitch() {
  const [theme, setTheme] = useState<Theme>(
    () => (document.documentElement.dataset['theme'] as Theme | undefined) ?? 'auto',
  );
  const next = ({ auto: 'light', light: 'dark', dark: 'auto' } as const)[theme];
  const change = () => {
    setTheme(next);
    showTheme(next);
    localStorage.setItem('theme', next);
    dispatchEvent(new Event('themechange'));
  };
  return (
    <button className="quiet theme" onClick={change} title={`Change to ${next}`}>
      <Icon name={theme} />
      <span>{theme === 'auto' ? 'System theme' : `${theme === 'dark' ? 'Dark' : 'Light'} theme`}</span>
    </button>
  );
}
function showTheme(theme: string | null): void {
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset['theme'] = theme;
  else delete document.documentElement.dataset['theme'];
}

const Logo = () => (
  <svg viewBox="0 0 32 32" className="logo" aria-hidden="true">
    <path d="M4 8h7q3 0 5 4t5 4h7M4 16h7q3 0 5-4t5-4h7M4 24h24" />
    <circle cx="4" cy="24" r="2" />
    <circle cx="28" cy="16" r="2" />
    <circle cx="28" cy="8" r="2" />
  </svg>
);

function App() {
  const route = useRoute();
  const away = useWatched(offline);
  const main = useRef<HTMLElement>(null);
  const { title, content } = page(route);
  const place = route.path.join('/');
  const first = useRef(true);
  // Before a page says it more closely, which it does in an effect of its own.
  useLayoutEffect(() => {
    document.title = `${title} · Latent Loom`;
  }, [title, place]);
  useEffect(() => {
    scrollTo(0, 0);
    // The focus follows to the new page, for those who use the keyboard or a screen reader.
    if (!first.current) main.current?.focus({ preventScroll: true });
    first.current = false;
  }, [place]);
  const section = SECTIONS[route.path[0] ?? ''] ?? route.path[0] ?? '';
  return (
    <>
      <a
        className="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <header className="side">
        <a className="brand" href="#/">
          <Logo />
          Latent Loom
        </a>
        <nav aria-label="Pages">
          {PAGES.map(([path, name, icon]) => (
            <a
              key={path}
              href={link(path)}
              aria-current={section === path ? 'page' : undefined}
              className={path === 'new' ? 'new' : ''}
            >
              <Icon name={icon} />
              <span>{name}</span>
            </a>
          ))}
        </nav>
        <footer>
          <ThemeSwitch />
          <NoticesLink current={section === 'notices'} />
          <a href="/docs" className="dim">
            API
          </a>
        </footer>
      </header>
      <main ref={main} id="main" tabIndex={-1}>
        {away !== undefined && (
          <p className="offline" role="status">
            <strong>Offline.</strong> The API has not answered since {new Date(away).toLocaleTimeString()}; what you see
            may be old. It is asked again every few seconds.
          </p>
        )}
        <Unseen />
        <Guard key={place}>
          <Suspense fallback={<Skeleton lines={6} />}>{content}</Suspense>
        </Guard>
      </main>
    </>
  );
}

showTheme(localStorage.getItem('theme'));
createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <App />
    </QueryClientProvider>
  </StrictMode>,
);
