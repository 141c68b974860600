import { useEffect, useRef, useState } from 'react';

/** Height of what is around a chart that has all of the screen. */
const AROUND_PX = 90;
/** Pixels that are left for it then. */
export const fullHeight = (): number => innerHeight - AROUND_PX;

/** The element that has all of the screen when it is asked for, whether it has it, and what gives or takes it. */
export function useFullScreen() {
  const element = useRef<HTMLElement>(null);
  const [full, setFull] = useState(false);
  useEffect(() => {
    const change = () => setFull(document.fullscreenElement !== null && document.fullscreenElement === element.current);
    document.addEventListener('fullscreenchange', change);
    return () => document.removeEventListener('fullscreenchange', change);
  }, []);
  const toggle = () => void (full ? document.exitFullscreen() : element.current?.requestFullscreen());
  return [element, full, toggle] as const;
}
