/** The inputs of a form for single values. What they give is the value of the field, undefined for none. */
import { useState, type ReactNode } from 'react';
import { fromOneLine, inOneLine } from './spec-fields.js';

interface Single {
  id: string;
  label: ReactNode;
  /** Shown while the field is empty: the value that holds then. */
  placeholder: string;
  value: unknown;
  /** What is wrong with it. */
  fault: string | undefined;
  onChange: (value: unknown) => void;
}

/** How an input says that it is at fault, and where it is told why. */
const faulty = ({ id, fault }: Single) =>
  fault !== undefined && { 'aria-invalid': true, 'aria-describedby': `${id}-fault` };

const Why = ({ id, fault }: Single) =>
  fault !== undefined && (
    <small id={`${id}-fault`} className="bad why">
      {fault}
    </small>
  );

export function ChoiceInput({ options, ...single }: Single & { options: string[] }) {
  const { id, label, placeholder, value, onChange } = single;
  return (
    <div>
      {label}
      <select
        id={id}
        {...faulty(single)}
        value={typeof value === 'string' ? value : ''}
        onChange={({ target }) => onChange(target.value === '' ? undefined : target.value)}
      >
        <option value="">{placeholder && `${placeholder} (usual)`}</option>
        {options.map((each) => (
          <option key={each}>{each}</option>
        ))}
      </select>
      <Why {...single} />
    </div>
  );
}

export const BooleanInput = ({ value, onChange, ...single }: Single) => (
  <ChoiceInput
    {...single}
    options={['true', 'false']}
    value={typeof value === 'boolean' ? String(value) : value}
    onChange={(next) => onChange(next === undefined ? undefined : next === 'true')}
  />
);

export function SeveralInput({ name, value, options, onChange }: Single & { name: string; options: string[] }) {
  const list = Array.isArray(value) ? value.map(String) : [];
  return (
    <fieldset>
      <legend>{name}</legend>
      <span className="chips">
        {options.map((each) => (
          <label key={each}>
            <input
              type="checkbox"
              checked={list.includes(each)}
              onChange={({ target }) => {
                const next = options.filter((option) => (option === each ? target.checked : list.includes(option)));
                onChange(next.length ? next : undefined);
              }}
            />{' '}
            {each}
          </label>
        ))}
      </span>
    </fieldset>
  );
}

interface Range {
  whole: boolean;
  min?: number | undefined;
  max?: number | undefined;
}

export function NumberInput({ whole, min, max, ...single }: Single & Range) {
  const { id, label, placeholder, value, onChange } = single;
  return (
    <div>
      {label}
      <input
        id={id}
        type="number"
        {...faulty(single)}
        min={min}
        max={max}
        step={whole ? 1 : 'any'}
        placeholder={placeholder}
        value={typeof value === 'number' ? value : ''}
        onChange={({ target }) =>
          onChange(target.value === '' || Number.isNaN(target.valueAsNumber) ? undefined : target.valueAsNumber)
        }
      />
      <Why {...single} />
    </div>
  );
}

/** `null` is a value of its own: `from: null` is a network from scratch. */
function textOf(value: unknown): string {
  if (value === null) return 'null';
  return typeof value === 'string' ? value : '';
}
function valueOf(text: string): string | null | undefined {
  if (text === '') return undefined;
  return text === 'null' ? null : text;
}

export function TextInput(single: Single) {
  const { id, label, placeholder, value, onChange } = single;
  return (
    <div>
      {label}
      <input
        id={id}
        type="text"
        placeholder={placeholder}
        value={textOf(value)}
        {...faulty(single)}
        onChange={({ target }) => onChange(valueOf(target.value))}
      />
      <Why {...single} />
    </div>
  );
}

/** A value of any form, in one line of YAML. A line that is no YAML yet stays in the field and changes nothing. */
export function LineInput(single: Single) {
  const { id, label, placeholder, value, fault, onChange } = single;
  const line = inOneLine(value);
  const [known, setKnown] = useState(line);
  const [typed, setTyped] = useState(line);
  // The value was changed elsewhere: the typed line is replaced, unless it means the same.
  if (line !== known) {
    setKnown(line);
    if (read(typed)?.line !== line) setTyped(line);
  }
  const broken = read(typed) === undefined;
  return (
    <div>
      {label}
      <input
        id={id}
        type="text"
        spellCheck={false}
        placeholder={placeholder}
        value={typed}
        {...faulty(single)}
        aria-invalid={broken || fault !== undefined}
        title={
          broken
            ? 'expected YAML, such as [0.01, 0.1] or {rows: [0, 1]}'
            : 'In YAML, such as [0.01, 0.1] or {rows: [0, 1]}'
        }
        onChange={({ target }) => {
          setTyped(target.value);
          const next = read(target.value);
          if (next) onChange(next.value);
        }}
      />
      <Why {...single} />
    </div>
  );
}

/** The value that a line says, and how it is usually written; undefined for what is no YAML. */
function read(line: string): { value: unknown; line: string } | undefined {
  try {
    const value = fromOneLine(line);
    return { value, line: inOneLine(value) };
  } catch {
    return undefined;
  }
}
