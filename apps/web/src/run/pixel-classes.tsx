import { useReport } from '../data/queries.js';
import { Table } from '../ui/panel.js';
import { Loaded } from '../ui/states.js';
import { MaskViewer } from './mask-viewer.js';

/** Rows of `segmentation.png` below its images. */
const LAYERS = ['Mask', 'Predicted'];

interface PixelReport {
  split: string;
  classes: { name: string; colour?: string; pixels: number; iou: number | null; dice: number | null }[];
}

/**
 * What the colours of the overlays mean, and how well each class is found; with `picture`, masks and predictions over
 * the images as one likes to see them.
 */
export function PixelClasses({ url, picture, name }: { url: string; picture: string | undefined; name: string }) {
  const report = useReport<PixelReport>(url);
  const percent = (value: number | null) => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
  return (
    <Loaded query={report} lines={2}>
      {({ split, classes }) => (
        <>
          {picture && <MaskViewer url={picture} classes={classes} layers={LAYERS} name={name} />}
          <Table
            caption={`Classes of pixels in the ${split} split`}
            empty="No classes."
            keys={classes.map(({ name }) => name)}
            head={['class', 'pixels', 'IoU', 'Dice']}
            rows={classes.map(({ name, colour, pixels, iou, dice }) => [
              <span className="legend">
                {colour && <i style={{ background: colour }} />}
                {name}
              </span>,
              pixels.toLocaleString('en'),
              percent(iou),
              percent(dice),
            ])}
          />
        </>
      )}
    </Loaded>
  );
}
