import { useEffect, useState } from 'react';
import { fieldsOf, fromOneLine, inOneLine, type Field } from './spec-fields.js';
import { edited, type Draft } from './submission.js';
import { Choice } from '../ui/controls.js';
import { Panel } from '../ui/panel.js';

/** The fields of the run, or of the sweep and each of its stages, beside the text: each changes the other. */
export function SpecForm({ text, draft, onChange }: { text: string; draft: Draft; onChange: (text: string) => void }) {
  const [chosen, setChosen] = useState<string>();
  const { parts } = draft;
  // Of a sweep, what its first stage does is asked for most.
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
      <Fields
        key={part.name}
        fields={fields}
        value={part.value}
        path={part.path}
        onChange={(path, value) => onChange(edited(text, path, value))}
      />
    </Panel>
  );
}

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

function FieldInput({
  field: { name, input, required, usual },
  value,
  path,
  onChange,
}: Part<unknown> & { field: Field }) {
  const set = (next: unknown) => onChange(path, next);
  const id = `field-${path.join('-')}`;
  const placeholder = usual?.replaceAll('"', '') ?? (required ? 'needed' : '');
  const label = (
    <label htmlFor={id}>
      {name}
      {required && <span className="dim"> *</span>}
    </label>
  );
  switch (input.type) {
    case 'choice':
    case 'boolean': {
      const options = input.type === 'boolean' ? ['true', 'false'] : input.options;
      return (
        <div>
          {label}
          <select
            id={id}
            value={typeof value === 'string' ? value : typeof value === 'boolean' ? String(value) : ''}
            onChange={({ target }) =>
              set(target.value === '' ? undefined : input.type === 'boolean' ? target.value === 'true' : target.value)
            }
          >
            <option value="">{placeholder && `${placeholder} (usual)`}</option>
            {options.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </div>
      );
    }
    case 'several': {
      const list = Array.isArray(value) ? value.map(String) : [];
      return (
        <fieldset>
          <legend>{name}</legend>
          <span className="chips">
            {input.options.map((each) => (
              <label key={each}>
                <input
                  type="checkbox"
                  checked={list.includes(each)}
                  onChange={({ target }) => {
                    const next = input.options.filter((option) =>
                      option === each ? target.checked : list.includes(option),
                    );
                    set(next.length ? next : undefined);
                  }}
                />{' '}
                {each}
              </label>
            ))}
          </span>
        </fieldset>
      );
    }
    case 'number':
      return (
        <div>
          {label}
          <input
            id={id}
            type="number"
            min={input.min}
            max={input.max}
            step={input.whole ? 1 : 'any'}
            placeholder={placeholder}
            value={typeof value === 'number' ? value : ''}
            onChange={({ target }) =>
              set(target.value === '' || Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber)
            }
          />
        </div>
      );
    case 'string':
      // `from: null` is a value of its own: a network from scratch.
      return (
        <div>
          {label}
          <input
            id={id}
            type="text"
            placeholder={placeholder}
            value={typeof value === 'string' ? value : value === null ? 'null' : ''}
            onChange={({ target }) =>
              set(target.value === '' ? undefined : target.value === 'null' ? null : target.value)
            }
          />
        </div>
      );
    case 'group':
    case 'switch': {
      const inner = isObject(value) ? value : undefined;
      const body = <Fields fields={input.fields} value={inner ?? {}} path={path} onChange={onChange} />;
      if (input.type === 'group')
        return (
          <details className="inner" open={inner !== undefined}>
            <summary>{name}</summary>
            {body}
          </details>
        );
      return (
        <div className="inner">
          <label>
            <input
              type="checkbox"
              checked={inner !== undefined}
              onChange={({ target }) => set(target.checked ? {} : undefined)}
            />{' '}
            {name}
          </label>
          {inner !== undefined && body}
        </div>
      );
    }
    case 'variant': {
      const inner = isObject(value) ? value : undefined;
      const option = input.options.find((each) => each.value === inner?.[input.key]);
      return (
        <div className="inner">
          <div className="fields">
            <div>
              {label}
              <select
                id={id}
                value={option?.value ?? ''}
                onChange={({ target }) => set(target.value === '' ? undefined : { [input.key]: target.value })}
              >
                <option value="">{usual ? `${placeholder} (usual)` : 'none'}</option>
                {input.options.map((each) => (
                  <option key={each.value}>{each.value}</option>
                ))}
              </select>
            </div>
          </div>
          {option && (
            <Fields key={option.value} fields={option.fields} value={inner!} path={path} onChange={onChange} />
          )}
        </div>
      );
    }
    case 'yaml':
      return (
        <div>
          {label}
          <LineInput id={id} value={value} placeholder={placeholder} onChange={set} />
        </div>
      );
  }
}

/** A value of many forms, in one line of YAML. What is none yet stays in the field and leaves the text as it is. */
function LineInput({
  id,
  value,
  placeholder,
  onChange,
}: {
  id: string;
  value: unknown;
  placeholder: string;
  onChange: (value: unknown) => void;
}) {
  const line = inOneLine(value);
  const [typed, setTyped] = useState(line);
  const [broken, setBroken] = useState(false);
  useEffect(() => {
    setTyped((last) => (same(last, value) ? last : line));
    setBroken(false);
  }, [line]);
  const type = (next: string) => {
    setTyped(next);
    try {
      const parsed = fromOneLine(next);
      setBroken(false);
      onChange(parsed);
    } catch {
      setBroken(true);
    }
  };
  return (
    <input
      id={id}
      type="text"
      spellCheck={false}
      placeholder={placeholder}
      value={typed}
      aria-invalid={broken}
      title={
        broken
          ? 'expected YAML, such as [0.01, 0.1] or {rows: [0, 1]}'
          : 'In YAML, such as [0.01, 0.1] or {rows: [0, 1]}'
      }
      onChange={({ target }) => type(target.value)}
    />
  );
}

/** Whether a line says this value, however it is written. */
function same(line: string, value: unknown): boolean {
  try {
    return inOneLine(fromOneLine(line)) === inOneLine(value);
  } catch {
    return false;
  }
}
