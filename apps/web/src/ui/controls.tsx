import { useEffect, useId, useRef, type ReactNode } from 'react';

/** What lies under a button. Escape and a click elsewhere close it. `label`: the button in words, where it has none. */
export function Dropdown({
  title,
  label,
  name,
  children,
}: {
  title: ReactNode;
  label?: string;
  name: string;
  children: ReactNode;
}) {
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: Event) => {
      if (!box.current!.contains(target as Node)) box.current!.open = false;
    };
    document.addEventListener('pointerdown', close);
    return () => document.removeEventListener('pointerdown', close);
  }, []);
  const onKeyDown = ({ key }: { key: string }) => {
    if (key !== 'Escape') return;
    box.current!.open = false;
    box.current!.querySelector('summary')!.focus();
  };
  return (
    <details className="menu" ref={box} onKeyDown={onKeyDown}>
      <summary aria-label={label}>{title}</summary>
      <fieldset>
        <legend className="hidden">{name}</legend>
        {children}
      </fieldset>
    </details>
  );
}

/** Boxes to tick, under a button. */
export function Menu({
  title,
  name,
  options,
  chosen,
  onToggle,
}: {
  title: ReactNode;
  name: string;
  options: readonly { id: string; label: string }[];
  chosen: readonly string[];
  onToggle: (id: string) => void;
}) {
  return (
    <Dropdown title={title} name={name}>
      {options.map(({ id, label }) => (
        <label key={id}>
          <input type="checkbox" checked={chosen.includes(id)} onChange={() => onToggle(id)} /> {label}
        </label>
      ))}
    </Dropdown>
  );
}

/** A choice of few, as one control. */
export function Choice<T extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
}) {
  return (
    <span className="choice" role="group" aria-label={label}>
      {options.map(([each, text]) => (
        <button key={each} aria-pressed={each === value} onClick={() => onChange(each)}>
          {text}
        </button>
      ))}
    </span>
  );
}

export function Tabs<T extends string>({
  label,
  value,
  tabs,
  onChange,
  children,
}: {
  label: string;
  value: T;
  tabs: readonly (readonly [T, ReactNode])[];
  onChange: (value: T) => void;
  /** What is under the chosen one. */
  children: ReactNode;
}) {
  const id = useId();
  const bar = useRef<HTMLDivElement>(null);
  const move = (by: number) => {
    const at = (tabs.findIndex(([each]) => each === value) + by + tabs.length) % tabs.length;
    onChange(tabs[at]![0]);
    bar.current?.querySelectorAll<HTMLElement>('[role=tab]')[at]?.focus();
  };
  return (
    <>
      <div
        className="tabs"
        role="tablist"
        aria-label={label}
        ref={bar}
        onKeyDown={({ key }) => {
          if (key === 'ArrowRight') move(1);
          else if (key === 'ArrowLeft') move(-1);
        }}
      >
        {tabs.map(([each, text]) => (
          <button
            key={each}
            role="tab"
            id={`${id}-${each}`}
            aria-selected={each === value}
            aria-controls={`${id}-panel`}
            tabIndex={each === value ? 0 : -1}
            onClick={() => onChange(each)}
          >
            {text}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${value}`}>
        {children}
      </div>
    </>
  );
}

/** Buttons that what they do disables, or takes away: who uses the keyboard stays among them. */
export function ActionGroup({ label, children }: { label: string; children: ReactNode }) {
  const group = useRef<HTMLSpanElement>(null);
  const within = useRef(false);
  useEffect(() => {
    if (within.current && document.activeElement === document.body) group.current!.focus({ preventScroll: true });
  });
  return (
    <span
      className="actions"
      role="group"
      aria-label={label}
      tabIndex={-1}
      ref={group}
      onFocus={() => {
        within.current = true;
      }}
      onBlur={({ target, relatedTarget }) => {
        within.current = relatedTarget === null && target instanceof HTMLButtonElement && target.disabled;
      }}
    >
      {children}
    </span>
  );
}
