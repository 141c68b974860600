/** The settings of a dataset that is added, each with what is wrong with it. */
import type { ReactNode } from 'react';
import { Choice } from '../ui/controls.js';
import { Field, OtherFaults } from '../ui/field.js';
import { Panel } from '../ui/panel.js';
import type { Settings } from './source-settings.js';

type Change = (change: Partial<Settings>) => void;

export function SettingsForm({
  settings,
  faults,
  onChange,
  children,
}: {
  settings: Settings;
  /** By field of the spec. */
  faults: ReadonlyMap<string, string>;
  onChange: Change;
  children: ReactNode;
}) {
  const text = (label: string, field: keyof Settings, path: string, placeholder = '') => (
    <Field
      label={label}
      value={settings[field]}
      fault={faults.get(path)}
      placeholder={placeholder}
      onChange={(value) => onChange({ [field]: value })}
    />
  );
  const { medium } = settings;
  return (
    <Panel title="Dataset">
      <div className="fields">
        {text('Name', 'name', 'name')}
        {text('Path', 'path', 'path', 'the data root itself')}
        <div>
          <span>Samples are</span>
          <Choice
            label="Samples are"
            value={medium}
            onChange={(next) => onChange({ medium: next })}
            options={[
              ['images', 'images'],
              ['masks', 'images with masks'],
              ['sounds', 'sounds'],
            ]}
          />
        </div>
        {medium === 'sounds' ? (
          <>
            {text('Samples a second', 'sampleRate', 'audio.sampleRate', '16000')}
            {text('Seconds of each', 'seconds', 'audio.seconds', '1')}
          </>
        ) : (
          <>
            {text('Side in pixels', 'imageSize', 'imageSize', '32')}
            <div>
              <span>Colours</span>
              <Choice
                label="Colours"
                value={settings.channels}
                onChange={(next) => onChange({ channels: next })}
                options={[
                  ['3', 'red, green, blue'],
                  ['1', 'grey'],
                ]}
              />
            </div>
          </>
        )}
        {medium === 'masks' && (
          <>
            {text('Classes of pixels, from value 0', 'maskClasses', 'masks.classes', 'ground, square')}
            {text('Value without a class', 'unlabelled', 'masks.unlabelled', 'none')}
          </>
        )}
        {text('Part for validation', 'valFraction', 'valFraction', '0.1')}
        {text('Part for testing', 'testFraction', 'testFraction', '0.1')}
      </div>
      <OtherFaults faults={faults} shown={SHOWN} />
      {children}
    </Panel>
  );
}

const SHOWN = [
  'name',
  'path',
  'imageSize',
  'audio.sampleRate',
  'audio.seconds',
  'masks.classes',
  'masks.unlabelled',
  'valFraction',
  'testFraction',
];
