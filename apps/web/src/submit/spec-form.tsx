import { createContext, useContext, useState } from 'react';
import { Choice } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';
import { BooleanInput, ChoiceInput, LineInput, NumberInput, SeveralInput, TextInput } from './single-inputs.js';
import { fieldsOf, type Field } from './spec-fields.js';
import { edited, type Draft, type Trouble } from './submission.js';

/** The fields of the run, or of the sweep and each of its stages, beside the text: each changes the other. */
export function SpecForm({
  text,
  draft,
  troubles,
  onChange,
}: {
  text: string;
  draft: Draft;
  /** What is wrong with the text: shown at the fields that it is of. */
  troubles: readonly Trouble[];
  onChange: (text: string) => void;
}) {
  const [chosen, setChosen] = useState<string>();
  const { parts } = draft;
  // A sweep's form opens at its first stage, which is edited most.
  const part =
    parts.find(({ name }) => name === chosen) ?? parts.find(({ subject }) => subject.type === 'spec') ?? parts[0];
  if (!part) return null;
  const fields =
    fieldsOf(part.subject) ?? fieldsOf({ type: 'spec', kind: 'pretrain' })!.filter(({ name }) => name === 'kind');
  return (
    <Panel
      title="Fields"
      className="form"
      aside={
        parts.length > 1 ? (
          <Choice
            label="Part"
            value={part.name}
            onChange={setChosen}
            options={parts.map(({ name }) => [name, name] as const)}
          />
        ) : (
          <span className="dim">{part.name}</span>
        )
      }
    >
      <Troubles value={troubles}>
        <Fields
          key={part.name}
          fields={fields}
          value={part.value}
          path={part.path}
          onChange={(path, value) => onChange(edited(text, path, value))}
        />
      </Troubles>
    </Panel>
  );
}

const Troubles = createContext<readonly Trouble[]>([]);

interface Part<T> {
  value: T;
  path: string[];
  onChange: (path: string[], value: unknown) => void;
}

function Fields({ fields, value, path, onChange }: Part<Record<string, unknown>> & { fields: Field[] }) {
  return (
    <div className="fields">
      {fields.map((field) => (
        <FieldInput
          key={field.name}
          field={field}
          value={value[field.name]}
          path={[...path, field.name]}
          onChange={onChange}
        />
      ))}
    </div>
  );
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The input that suits a field. */
function FieldInput({ field, value, path, onChange }: Part<unknown> & { field: Field }) {
  const { name, input, required, usual } = field;
  const part = { value, path, onChange };
  const at = path.join('.');
  const fault = useContext(Troubles).find((each) => each.field === at || each.field?.startsWith(`${at}.`));
  const single = {
    id: idOf(path),
    label: <Label field={field} path={path} />,
    placeholder: usual?.replaceAll('"', '') ?? (required ? 'needed' : ''),
    value,
    fault: fault?.message,
    onChange: (next: unknown) => onChange(path, next),
  };
  switch (input.type) {
    case 'choice':
      return <ChoiceInput {...single} options={input.options} />;
    case 'boolean':
      return <BooleanInput {...single} />;
    case 'several':
      return <SeveralInput {...single} name={name} options={input.options} />;
    case 'number':
      return <NumberInput {...single} {...input} />;
    case 'string':
      return <TextInput {...single} />;
    case 'yaml':
      return <LineInput {...single} />;
    case 'group':
      return <Group {...part} name={name} fields={input.fields} />;
    case 'switch':
      return <Switch {...part} name={name} fields={input.fields} />;
    case 'variant':
      return <Variant {...part} field={field} tag={input.key} options={input.options} />;
  }
}

const idOf = (path: readonly string[]) => `field-${path.join('-')}`;

const Label = ({ field: { name, required }, path }: { field: Field; path: readonly string[] }) => (
  <label htmlFor={idOf(path)}>
    {name}
    {required && <span className="dim"> *</span>}
  </label>
);

/** An object that is always there; open where the text names it. */
function Group({ name, fields, value, path, onChange }: Part<unknown> & { name: string; fields: Field[] }) {
  return (
    <details className="inner" open={isObject(value)}>
      <summary>{name}</summary>
      <Fields fields={fields} value={isObject(value) ? value : {}} path={path} onChange={onChange} />
    </details>
  );
}

/** An object that is off unless it is there, such as an augmentation. */
function Switch({ name, fields, value, path, onChange }: Part<unknown> & { name: string; fields: Field[] }) {
  return (
    <div className="inner">
      <label>
        <input
          type="checkbox"
          checked={isObject(value)}
          onChange={({ target }) => onChange(path, target.checked ? {} : undefined)}
        />{' '}
        {name}
      </label>
      {isObject(value) && <Fields fields={fields} value={value} path={path} onChange={onChange} />}
    </div>
  );
}

/** An object whose `tag` says which other fields it has, such as an optimiser. */
function Variant({
  field,
  tag,
  options,
  value,
  path,
  onChange,
}: Part<unknown> & { field: Field; tag: string; options: { value: string; fields: Field[] }[] }) {
  const inner = isObject(value) ? value : {};
  const option = options.find((each) => each.value === inner[tag]);
  return (
    <div className="inner">
      <div className="fields">
        <div>
          <Label field={field} path={path} />
          <select
            id={idOf(path)}
            value={option?.value ?? ''}
            onChange={({ target }) => onChange(path, target.value === '' ? undefined : { [tag]: target.value })}
          >
            <option value="">{field.usual ? `${field.usual.replaceAll('"', '')} (usual)` : 'none'}</option>
            {options.map((each) => (
              <option key={each.value}>{each.value}</option>
            ))}
          </select>
        </div>
      </div>
      {option && <Fields key={option.value} fields={option.fields} value={inner} path={path} onChange={onChange} />}
    </div>
  );
}
