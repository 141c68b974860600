import type { RunStatus } from '#libs/contracts';
import { link } from '../route.js';
import { STATUS_GROUPS } from '../ui/run-status.js';

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
      {(['running', 'waiting', 'paused', 'succeeded', 'failed'] as const).map((name) => {
        const statuses = STATUS_GROUPS[name];
        const value = count?.(...statuses);
        if (name === 'paused' && !value) return null;
        const tone = name === 'failed' && !value ? '' : statuses[0];
        return (
          <Tile key={name} label={name} value={value} href={link('runs', { status: statuses.join() })} tone={tone} />
        );
      })}
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
