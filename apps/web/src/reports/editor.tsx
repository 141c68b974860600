/** Writes a report: its blocks on one side, what becomes of them on the other. */
import { ApiError, ReportBlock, type Report, type WriteReport } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { client, refresh } from '../data/queries.js';
import { ActionGroup } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { BlockFields } from './block-fields.js';
import {
  changedBlock,
  draftOf,
  faultsIn,
  forgetDraft,
  keepDraft,
  movedBlock,
  NEW_BLOCKS,
  withBlock,
  withoutBlock,
  writtenIn,
  type Draft,
  type DraftBlock,
} from './draft.js';
import { useSettled } from './settled.js';
import { LiveBlock } from './report-view.js';

interface Props {
  /** Undefined of one that is new. */
  report?: Report;
  onSave: (edited: WriteReport, version: number) => Promise<Report>;
  onSaved: (saved: Report) => void;
  onLeave: () => void;
}

export function Editor({ report, onSave, onSaved, onLeave }: Props) {
  const [draft, setDraft] = useState(() => draftOf(report));
  const [changed, setChanged] = useState(false);
  useEffect(() => {
    if (changed) keepDraft(report?.id, draft);
  }, [report?.id, draft, changed]);
  const save = useMutation({
    mutationFn: (version: number) => onSave(writtenIn(draft), version),
    onSuccess: (saved) => {
      forgetDraft(report?.id);
      void refresh();
      onSaved(saved);
    },
  });
  const change = (next: Draft) => {
    save.reset();
    setChanged(true);
    setDraft(next);
  };
  const leave = () => {
    forgetDraft(report?.id);
    // Somebody else may have saved it meanwhile.
    void refresh();
    onLeave();
  };
  const faults = faultsIn(draft);
  return (
    <>
      <div className="title">
        <h1>{report ? `Edit ${report.title}` : 'New report'}</h1>
        <ActionGroup label="Save or leave">
          <button
            className="primary"
            disabled={faults.size > 0 || save.isPending}
            onClick={() => save.mutate(draft.version)}
          >
            Save
          </button>
          <button onClick={leave}>{changed ? 'Leave without saving' : 'Leave'}</button>
        </ActionGroup>
      </div>
      {save.error && (
        <Refused
          error={save.error}
          onOver={async () => save.mutate((await client.report(report!.id)).version)}
          onTheirs={leave}
        />
      )}
      <div className="writing report">
        <div>
          <TitlePanel
            title={draft.title}
            fault={changed ? faults.get('title') : undefined}
            onChange={(title) => change({ ...draft, title })}
          />
          {draft.blocks.map((each, i) => (
            <BlockPanel
              key={each.key}
              each={each}
              at={i}
              draft={draft}
              fault={faults.get(String(i))}
              onChange={change}
            />
          ))}
          <NewBlocks onAdd={(type) => change(withBlock(draft, type))} />
          {faults.has('blocks') && (
            <p className="bad" role="alert">
              {faults.get('blocks')}
            </p>
          )}
        </div>
        <Preview blocks={draft.blocks} />
      </div>
    </>
  );
}

function TitlePanel({
  title,
  fault,
  onChange,
}: {
  title: string;
  fault: string | undefined;
  onChange: (title: string) => void;
}) {
  return (
    <Panel>
      <label htmlFor="report-title">Title</label>
      <input
        id="report-title"
        className="wide"
        value={title}
        maxLength={200}
        aria-invalid={fault !== undefined}
        onChange={({ target }) => onChange(target.value)}
      />
      {fault !== undefined && <small className="bad">{fault}</small>}
    </Panel>
  );
}

const TYPES = Object.keys(NEW_BLOCKS) as ReportBlock['type'][];
const NewBlocks = ({ onAdd }: { onAdd: (type: ReportBlock['type']) => void }) => (
  <div className="actions" role="group" aria-label="Add a block">
    {TYPES.map((type) => (
      <button key={type} onClick={() => onAdd(type)}>
        + {NEW_BLOCKS[type].word}
      </button>
    ))}
  </div>
);

/** Why a report was not saved; where somebody else has saved it meanwhile, what can be done. */
function Refused({ error, onOver, onTheirs }: { error: Error; onOver: () => Promise<void>; onTheirs: () => void }) {
  const overtaken = error instanceof ApiError && error.code === 'conflict';
  return (
    <div className="fault" role="alert">
      <strong>{overtaken ? 'Somebody else has saved it meanwhile' : 'It was not saved'}</strong>
      <p>{overtaken ? 'Nothing was changed: what you have written is still here.' : error.message}</p>
      {overtaken && (
        <p className="actions">
          <button className="danger" onClick={() => void onOver()}>
            Save mine in its place
          </button>
          <button onClick={onTheirs}>Drop mine and see theirs</button>
        </p>
      )}
    </div>
  );
}

function BlockPanel({
  each: { key, block },
  at,
  draft,
  fault,
  onChange,
}: {
  each: DraftBlock;
  at: number;
  draft: Draft;
  fault: string | undefined;
  onChange: (draft: Draft) => void;
}) {
  const name = `${NEW_BLOCKS[block.type].word}, block ${at + 1}`;
  return (
    <Panel
      title={name}
      aside={
        <ActionGroup label={`Place of ${name}`}>
          <button
            className="quiet"
            disabled={at === 0}
            aria-label={`Move up ${name}`}
            onClick={() => onChange(movedBlock(draft, key, -1))}
          >
            ↑
          </button>
          <button
            className="quiet"
            disabled={at === draft.blocks.length - 1}
            aria-label={`Move down ${name}`}
            onClick={() => onChange(movedBlock(draft, key, 1))}
          >
            ↓
          </button>
          <button
            className="quiet danger"
            aria-label={`Remove ${name}`}
            onClick={() => onChange(withoutBlock(draft, key))}
          >
            Remove
          </button>
        </ActionGroup>
      }
    >
      <BlockFields block={block} onChange={(next) => onChange(changedBlock(draft, key, next))} />
      {fault !== undefined && <p className="bad">{fault}</p>}
    </Panel>
  );
}

function Preview({ blocks }: { blocks: Draft['blocks'] }) {
  // Not with every letter that is typed.
  const settled = useSettled(blocks);
  return (
    <section aria-label="Preview">
      {settled.map(({ key, block }) =>
        ReportBlock.safeParse(block).success ? (
          <section key={key} className="block">
            <LiveBlock block={block} />
          </section>
        ) : (
          <p key={key} className="absent">
            {NEW_BLOCKS[block.type].word}: it is shown here once all of it is chosen.
          </p>
        ),
      )}
    </section>
  );
}
