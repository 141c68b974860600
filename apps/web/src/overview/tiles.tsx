import { ACTIVE_STATUSES, type RunStatus } from '#libs/contracts';
import { link } from '../route.js';
import { FAILED } from './run-panels.js';

/** Numbers of runs by what became of them, and of busy slots. Undefined is what isn't known yet. */
export function Tiles({
  count,
  busy,
  slots,
}: {
  count: ((...statuses: readonly RunStatus[]) => number) | undefined;
  busy: number | undefined;
  slots: number;
}) {
  return (
    <ul className="tiles">
      <Tile
        label="running"
        value={count?.(...ACTIVE_STATUSES)}
        href={link('runs', { status: ACTIVE_STATUSES.join(',') })}
        tone="running"
      />
      <Tile
        label="waiting"
        value={count?.('queued', 'retrying', 'pending', 'paused')}
        href={link('runs', { status: 'queued,retrying,pending,paused' })}
        tone="queued"
      />
      <Tile
        label="succeeded"
        value={count?.('succeeded', 'early_stopped')}
        href={link('runs', { status: 'succeeded,early_stopped' })}
        tone="succeeded"
      />
      <Tile
        label="failed"
        value={count?.(...FAILED)}
        href={link('runs', { status: FAILED.join(',') })}
        tone={count && count(...FAILED) > 0 ? 'failed' : ''}
      />
      <Tile
        label={slots === 1 ? 'slot busy of 1' : `slots busy of ${slots}`}
        value={busy}
        href={link('machines')}
        tone=""
      />
    </ul>
  );
}

const Tile = ({
  label,
  value,
  href,
  tone,
}: {
  label: string;
  value: number | undefined;
  href: string;
  tone: string;
}) => (
  <li>
    <a href={href} className={`tile ${tone}`}>
      <b>{value ?? '…'}</b>
      <span>{label}</span>
    </a>
  </li>
);
