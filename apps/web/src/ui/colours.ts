import { useEffect, useState } from 'react';

/** A colour of the stylesheet as the browser computes it in the theme that is on: canvases don't know variables. */
export function themeColour(name: string): string {
  const probe = document.body.appendChild(document.createElement('i'));
  probe.style.color = `var(--${name})`;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** A value that changes with the theme, for what has to be drawn again then. */
export function useTheme(): string {
  const [theme, set] = useState(() => themeColour('ink'));
  useEffect(() => {
    const change = () => set(themeColour('ink'));
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', change);
    addEventListener('themechange', change);
    return () => {
      dark.removeEventListener('change', change);
      removeEventListener('themechange', change);
    };
  }, []);
  return theme;
}

/** Colours of lines and classes: told apart by most colour-blind people, 3:1 on both papers. */
export const PALETTE = [
  '#4269d0',
  '#d9730d',
  '#2f9e6e',
  '#d6455d',
  '#9467bd',
  '#0e93a8',
  '#c2528b',
  '#8a7a1f',
  '#7a8694',
  '#a0603f',
];

export const colourOf = (i: number): string => PALETTE[i % PALETTE.length]!;
