/** Fields of forms, each with what is wrong with it. */
import { useId } from 'react';

export function Field({
  label,
  value,
  fault,
  placeholder,
  onChange,
}: {
  label: string;
  value: string;
  fault: string | undefined;
  placeholder: string;
  onChange: (value: string) => void;
}) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <span>
        <input
          id={id}
          value={value}
          placeholder={placeholder}
          aria-invalid={fault !== undefined}
          aria-describedby={fault === undefined ? undefined : `${id}-fault`}
          onChange={({ target }) => onChange(target.value)}
        />
        {fault !== undefined && (
          <small id={`${id}-fault`} className="bad">
            {fault}
          </small>
        )}
      </span>
    </div>
  );
}

/** What is wrong with fields of a spec that have no input here. `shown`: those that have one. */
export const OtherFaults = ({ faults, shown }: { faults: ReadonlyMap<string, string>; shown: readonly string[] }) =>
  [...faults]
    .filter(([path]) => !shown.includes(path))
    .map(([path, message]) => (
      <p key={path} className="bad" role="alert">
        {path && `${path}: `}
        {message}
      </p>
    ));
