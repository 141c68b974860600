/** How curves are shown, for all charts of a page. */
import type { CurveSettings } from './curve-plot.js';

/** `epochs`: whether the runs that are shown have epochs. */
export function CurveControls({
  settings,
  epochs = false,
  onChange,
}: {
  settings: CurveSettings;
  epochs?: boolean;
  onChange: (settings: CurveSettings) => void;
}) {
  return (
    <div className="controls">
      <label>
        Smoothing{' '}
        <input
          type="range"
          min={0}
          max={0.99}
          step={0.01}
          value={settings.smoothing}
          onChange={({ target }) => onChange({ ...settings, smoothing: Number(target.value) })}
        />{' '}
        <output>{settings.smoothing.toFixed(2)}</output>
      </label>
      <label>
        Over{' '}
        <select
          value={settings.axis}
          onChange={({ target }) => onChange({ ...settings, axis: target.value as CurveSettings['axis'] })}
        >
          <option value="step">steps</option>
          {epochs && <option value="epoch">epochs</option>}
          <option value="time">time</option>
        </select>
      </label>
      <label>
        <input
          type="checkbox"
          checked={settings.log}
          onChange={({ target }) => onChange({ ...settings, log: target.checked })}
        />{' '}
        Log scale
      </label>
    </div>
  );
}

/** Settings in the address: a link shows the curves as they were seen. */
export const settingsFrom = (query: Record<string, string>): CurveSettings => ({
  smoothing: Math.min(0.99, Math.max(0, Number(query['smooth'] ?? 0.6) || 0)),
  log: query['log'] === '1',
  axis: query['x'] === 'time' || query['x'] === 'epoch' ? query['x'] : 'step',
});
export const settingsTo = ({ smoothing, log, axis }: CurveSettings): Record<string, string> => ({
  smooth: String(smoothing),
  log: log ? '1' : '',
  x: axis === 'step' ? '' : axis,
});
