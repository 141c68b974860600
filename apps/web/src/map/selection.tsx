import { csv } from '../figures/csv.js';
import { colourOf } from '../ui/colours.js';
import { save } from '../ui/hand-out.js';
import { Panel } from '../ui/panel.js';
import { spread } from './chosen.js';
import { labelOf, type Focus, type Latent } from './latent-run.js';
import { usePaths } from './paths.js';
import { TagForm } from './tags.js';
import { Thumbnail } from './thumbnail.js';

const MOST_LISTED = 300;

export function Selection({
  latent,
  tagging,
  focus,
  onFocus,
}: {
  latent: Latent;
  /** The run that keeps what is chosen under a name. */
  tagging: Latent;
  focus: Focus;
  onFocus: (focus: Focus) => void;
}) {
  const { file, name } = latent;
  const { selected } = focus;
  const pathOf = usePaths(file);
  if (selected.length === 0) return null;
  const counts = file.labels
    ? [...Map.groupBy(selected, (i) => file.labels![i]!)]
        .map(([label, own]) => ({ label, count: own.length }))
        .sort((a, b) => b.count - a.count)
    : [];
  return (
    <Panel
      title={`${selected.length.toLocaleString('en')} chosen`}
      aside={
        <span className="actions">
          <button
            className="quiet"
            onClick={() =>
              save(
                `${name}-chosen.csv`,
                csv([['row', 'class', 'path'], ...selected.map((i) => [file.rows[i], labelOf(file, i), pathOf(i)])]),
                'text/csv',
              )
            }
          >
            CSV
          </button>
          <button className="quiet" onClick={() => onFocus({ ...focus, selected: [] })}>
            Forget
          </button>
        </span>
      }
    >
      <TagForm latent={tagging} selected={selected} />
      {counts.length > 0 && (
        <p className="legends">
          {counts.map(({ label, count }) => (
            <span key={label} className="legend">
              <i style={{ background: colourOf(label) }} />
              {file.classes[label]} {count}
            </span>
          ))}
        </p>
      )}
      <ul className="thumbnails">
        {spread(selected, MOST_LISTED).map((i) => (
          <li key={i}>
            <button
              className="bare"
              onClick={() => onFocus({ ...focus, picked: i })}
              aria-label={`Row ${file.rows[i]}: ${labelOf(file, i)}`}
              title={pathOf(i)}
            >
              <Thumbnail latent={latent} point={i} size={48} />
              <small>{labelOf(file, i) || file.rows[i]}</small>
            </button>
          </li>
        ))}
      </ul>
      {selected.length > MOST_LISTED && (
        <p className="dim">
          {MOST_LISTED} of {selected.length.toLocaleString('en')}, evenly spread: the CSV has them all.
        </p>
      )}
    </Panel>
  );
}
