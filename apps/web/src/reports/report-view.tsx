import { blockContent, type ReportBlock } from '#libs/contracts';
import { useLive } from '../data/queries.js';
import { Loaded } from '../ui/states.js';
import { BlockView, TextView } from './blocks.js';
import { reportSource } from './report-source.js';

/** A block with what it shows now: what is under way is followed. */
export function LiveBlock({ block }: { block: ReportBlock }) {
  if (block.type === 'text') return <TextView markdown={block.markdown} />;
  return <Shown block={block} />;
}

function Shown({ block }: { block: ReportBlock }) {
  const content = useLive(['report-block', block], () => blockContent(reportSource, block), {
    live: ({ live }) => live,
    keep: true,
  });
  return (
    <Loaded query={content}>
      {/* What is kept of another block until its own is there may be of another type. */}
      {(shown) => (shown.type === block.type ? <BlockView block={block} content={shown} /> : <></>)}
    </Loaded>
  );
}
