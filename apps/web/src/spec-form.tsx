import { useState } from 'react';
import { fieldsOf, type Field } from './spec-fields.js';
import { edited, type Draft } from './submission.js';
import { Choice, Panel } from './ui.js';

/** The fields of the run, or of each stage of the sweep, beside the text: each changes the other. */
export function SpecForm({ text, draft, onChange }: { text: string; draft: Draft; onChange: (text: string) => void }) {
  const [chosen, setChosen] = useState<string>();
  const stages = draft.stages;
  const stage = stages.find(({ name }) => name === chosen) ?? stages[0];
  if (!stage) return null;
  const fields = fieldsOf(stage.spec['kind']);
  return (
    <Panel title="Fields" className="form" aside={stages.length > 1 ? <Choice label="Stage" value={stage.name} onChange={setChosen} options={stages.map(({ name }) => [name, name] as const)} /> : <span className="dim">{String(stage.spec['kind'])}</span>}>
      {fields ? <Fields fields={fields} value={stage.spec} path={stage.path} onChange={(path, value) => onChange(edited(text, path, value))} /> : <p className="dim">Give the stage a <code>kind</code>.</p>}
    </Panel>
  );
}

interface Part<T> { value: T; path: string[]; onChange: (path: string[], value: unknown) => void }

function Fields({ fields, value, path, onChange }: Part<Record<string, unknown>> & { fields: Field[] }) {
  return <div className="fields">{fields.map((field) => <FieldInput key={field.name} field={field} value={value[field.name]} path={[...path, field.name]} onChange={onChange} />)}</div>;
}

function FieldInput({ field: { name, input, required, usual }, value, path, onChange }: Part<unknown> & { field: Field }) {
  const set = (next: unknown) => onChange(path, next);
  const id = `field-${path.join('-')}`;
  const placeholder = usual?.replaceAll('"', '') ?? (required ? 'needed' : '');
  const label = <label htmlFor={id}>{name}{required && <span className="dim"> *</span>}</label>;
  switch (input.type) {
    case 'choice': case 'boolean': {
      const options = input.type === 'boolean' ? ['true', 'false'] : input.options;
      return <div>{label}<select id={id} value={typeof value === 'string' ? value : typeof value === 'boolean' ? String(value) : ''} onChange={({ target }) => set(target.value === '' ? undefined : input.type === 'boolean' ? target.value === 'true' : target.value)}><option value="">{placeholder && `${placeholder} (usual)`}</option>{options.map((each) => <option key={each}>{each}</option>)}</select></div>;
    }
    case 'several': {
      const list = Array.isArray(value) ? value.map(String) : [];
      return <fieldset><legend>{name}</legend><span className="chips">{input.options.map((each) => <label key={each}><input type="checkbox" checked={list.includes(each)} onChange={({ target }) => { const next = input.options.filter((option) => (option === each ? target.checked : list.includes(option))); set(next.length ? next : undefined); }} /> {each}</label>)}</span></fieldset>;
    }
    case 'number':
      return <div>{label}<input id={id} type="number" min={input.min} max={input.max} step={input.whole ? 1 : 'any'} placeholder={placeholder} value={typeof value === 'number' ? value : ''} onChange={({ target }) => set(target.value === '' || Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber)} /></div>;
    case 'string':
      return <div>{label}<input id={id} type="text" placeholder={placeholder} value={typeof value === 'string' ? value : ''} onChange={({ target }) => set(target.value === '' ? undefined : target.value)} /></div>;
    case 'group': case 'switch': {
      const inner = typeof value === 'object' && value !== null && !Array.isArray(value) ? value as Record<string, unknown> : undefined;
      const body = <Fields fields={input.fields} value={inner ?? {}} path={path} onChange={onChange} />;
      if (input.type === 'group') return <details className="inner" open={inner !== undefined}><summary>{name}</summary>{body}</details>;
      return <div className="inner"><label><input type="checkbox" checked={inner !== undefined} onChange={({ target }) => set(target.checked ? {} : undefined)} /> {name}</label>{inner !== undefined && body}</div>;
    }
    case 'text': return <div><span>{name}{required && <span className="dim"> *</span>}</span><code className="dim">{value === undefined ? 'in the text' : JSON.stringify(value)}</code></div>;
  }
}
