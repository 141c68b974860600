/** Adds a model that was trained elsewhere: a file of the data root, and the run that takes it in. */
import { PUBLISHED_NETWORKS, isLayersModel } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useId, useState } from 'react';
import { DataBrowser } from '../datasets/data-browser.js';
import { client, refresh, useLive } from '../data/queries.js';
import { faultsOfSpec } from '../data/spec-faults.js';
import { link, useRoute } from '../route.js';
import { Field, OtherFaults } from '../ui/field.js';
import { Panel } from '../ui/panel.js';
import { faultsOfSettings, nameOfFile, specOf, type Settings } from './model-settings.js';

const USUAL = { as: '', mean: '', std: '' };
const SHOWN = ['name', 'path', 'as', 'normalisation.mean', 'normalisation.std'];

const openRun = (id: string): void => {
  location.hash = link(`runs/${id}`);
};

export function AddModelPage() {
  const { query, change } = useRoute();
  const { folder = '', path = '' } = query;
  const browsed = useLive(['data-root', folder], () => client.dataRoot(folder), { live: false, keep: true });
  const [typed, setTyped] = useState<Partial<Settings>>({});
  const settings: Settings = { ...USUAL, name: nameOfFile(path), ...typed, path };
  const submit = useMutation({
    mutationFn: async () => (await client.submitRun({ spec: specOf(settings) })).run,
    onSuccess: ({ id }) => {
      void refresh();
      openRun(id);
    },
  });
  const set = (next: Partial<Settings>) => {
    submit.reset();
    if (next.path !== undefined) change({ path: next.path });
    setTyped({ ...typed, ...next });
  };
  const choose = (next: { folder?: string; path: string }) => {
    submit.reset();
    setTyped({});
    change(next, 'push');
  };
  const own = faultsOfSettings(settings);
  const faults = own.size > 0 ? own : faultsOfSpec(submit.error);
  const text = (label: string, field: keyof Settings, at: string, placeholder = '') => (
    <Field
      label={label}
      value={settings[field]}
      // An empty form is at fault nowhere yet.
      fault={path === '' && settings[field] === '' ? undefined : faults.get(at)}
      placeholder={placeholder}
      onChange={(value) => set({ [field]: value })}
    />
  );
  return (
    <>
      <p className="crumbs">
        <a href={link('models')}>Models</a>
      </p>
      <h1>Add a model</h1>
      <div className="columns">
        <div>
          <DataBrowser
            query={browsed}
            folder={folder}
            chosen={path}
            onFolder={(next) => choose({ folder: next, path: '' })}
            onFile={(next) => choose({ path: next })}
          />
        </div>
        <Panel title="Model">
          <p className="dim">
            A safetensors file: weights of torchvision or timm, or an export of this program (
            <code>encoder.safetensors</code>), which says itself what it is. Or the <code>model.json</code> of a layers
            model of tfjs, such as a converted Keras model, with its weights beside it; or the <code>.index</code> of a
            checkpoint of SimCLR, with its numbers beside it.
          </p>
          <div className="fields">
            {text('Path', 'path', 'path', 'choose a file')}
            {text('Name', 'name', 'name')}
            <Network value={settings.as} fault={faults.get('as')} onChange={(as) => set({ as })} />
            {(settings.as !== '' || isLayersModel(path)) && (
              <>
                {text('Mean of each channel', 'mean', 'normalisation.mean', 'ImageNet’s: 0.485, 0.456, 0.406')}
                {text('Deviation of each', 'std', 'normalisation.std', 'ImageNet’s: 0.229, 0.224, 0.225')}
              </>
            )}
          </div>
          {path !== '' && <OtherFaults faults={faults} shown={SHOWN} />}
          <p className="actions">
            <button className="primary" disabled={own.size > 0 || submit.isPending} onClick={() => submit.mutate()}>
              Add
            </button>
          </p>
          <p className="dim">Every tensor is checked to fit; what does not is named, and then nothing is stored.</p>
        </Panel>
      </div>
    </>
  );
}

function Network({
  value,
  fault,
  onChange,
}: {
  value: string;
  fault: string | undefined;
  onChange: (as: string) => void;
}) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>Network</label>
      <span>
        <select
          id={id}
          value={value}
          aria-invalid={fault !== undefined}
          onChange={({ target }) => onChange(target.value)}
        >
          <option value="">as the file says</option>
          {PUBLISHED_NETWORKS.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        {fault !== undefined && <small className="bad">{fault}</small>}
      </span>
    </div>
  );
}
