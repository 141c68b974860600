import { useRef, type ReactNode } from 'react';
import { fileName, useWhole } from '../figures/files.js';

/**
 * A picture of a run, with what can be done with it. `name`: of its files. Its own file is behind a click on it. What
 * the children are is beside it.
 */
export function Picture({
  url,
  alt,
  name = alt,
  className = '',
  frame = '',
  children,
}: {
  url: string;
  alt: string;
  name?: string;
  className?: string;
  /** Class of what is around it. */
  frame?: string;
  children?: ReactNode;
}) {
  const image = useRef<HTMLImageElement>(null);
  const { element, menu } = useWhole(alt, {
    name: fileName(name.replace(/\.\w+$/, '')),
    drawn: async () => (await import('../figures/picture.js')).canvasOf(image.current!),
  });
  return (
    <div className={`whole picture ${frame}`} ref={element as React.RefObject<HTMLDivElement>}>
      {children}
      <a href={url}>
        <img ref={image} src={url} alt={alt} loading="lazy" className={className} />
      </a>
      {menu}
    </div>
  );
}
