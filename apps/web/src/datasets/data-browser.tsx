/** The data root, folder by folder. */
import type { DataFolder } from '#libs/contracts';
import type { UseQueryResult } from '@tanstack/react-query';
import { Panel } from '../ui/panel.js';
import { Empty, Loaded } from '../ui/states.js';

const KIB = 1024;
const size = (bytes: number): string =>
  bytes < KIB * KIB ? `${Math.ceil(bytes / KIB)} KiB` : `${(bytes / KIB / KIB).toFixed(1)} MiB`;

/** `chosen`: the path of the folder or file that the dataset is made of. */
export function DataBrowser({
  query,
  folder,
  chosen,
  onFolder,
  onFile,
}: {
  query: UseQueryResult<DataFolder>;
  folder: string;
  chosen: string;
  onFolder: (path: string) => void;
  onFile: (path: string) => void;
}) {
  const parts = folder.split('/').filter(Boolean);
  return (
    <Panel title="Data root">
      <nav className="crumbs" aria-label="Folders around">
        {[
          <button key="" className="quiet" onClick={() => onFolder('')}>
            data root
          </button>,
          ...parts.map((part, at) => (
            <button key={at} className="quiet" onClick={() => onFolder(parts.slice(0, at + 1).join('/'))}>
              {part}
            </button>
          )),
        ]}
      </nav>
      <Loaded query={query} lines={6}>
        {({ entries, more, found }) => (
          <>
            {entries.length === 0 ? (
              <Empty title="Nothing is in this folder." />
            ) : (
              <ul className="entries" aria-label="Folders and files">
                {entries.map(({ name, kind, sizeBytes }) => {
                  const path = [...parts, name].join('/');
                  return (
                    <li key={name}>
                      <button
                        className="quiet"
                        aria-pressed={kind === 'file' ? chosen === path : undefined}
                        onClick={() => (kind === 'folder' ? onFolder(path) : onFile(path))}
                      >
                        {kind === 'folder' ? `${name}/` : name}
                      </button>
                      {sizeBytes !== null && <span className="dim"> {size(sizeBytes)}</span>}
                    </li>
                  );
                })}
              </ul>
            )}
            {more && <p className="dim">There are more than these.</p>}
            <p role="status">{foundText(found)}</p>
          </>
        )}
      </Loaded>
    </Panel>
  );
}

/** What lies in a folder and below, in words. */
function foundText({ images, sounds, masks, others, all }: DataFolder['found']): string {
  const counts = [
    [images, 'images'],
    [sounds, 'sounds'],
    [others, 'other files'],
  ] as const;
  const words = counts.filter(([count]) => count > 0).map(([count, noun]) => `${count.toLocaleString('en')} ${noun}`);
  if (words.length === 0) return 'No files are in here or below.';
  return (
    `${all ? '' : 'At least '}${words.join(', ')} are in here and below` +
    (masks ? '; a folder of masks lies beside one of images.' : '.')
  );
}
