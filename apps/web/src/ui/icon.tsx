// Pictures that stand for words

const PATHS = {
  overview: 'M3 3h8v10H3zM13 3h8v6h-8zM13 11h8v10h-8zM3 15h8v6H3z',
  runs: 'M4 6h16M4 12h16M4 18h10',
  sweeps: 'M3 3h5v5H3zM10 3h5v5h-5zM17 3h4v5h-4zM3 10h5v5H3zM10 10h5v5h-5zM17 10h4v5h-4zM3 17h5v4H3zM10 17h5v4h-5z',
  map:
    'M6 7a1 1 0 1 0 .1 0M11 4a1 1 0 1 0 .1 0M9 11a1 1 0 1 0 .1 0M16 9a1 1 0 1 0 .1 0M18 15a1 1 0 1 0 .1 0M14 17a1 1 ' +
    '0 1 0 .1 0M6 18a1 1 0 1 0 .1 0',
  reports: 'M5 2h10l4 4v16H5zM15 2v4h4M8 11h8M8 15h8M8 19h5',
  datasets: 'M4 6a8 3 0 1 0 16 0a8 3 0 1 0-16 0M4 6v12a8 3 0 0 0 16 0V6M4 12a8 3 0 0 0 16 0',
  models: 'M12 2l9 5v10l-9 5-9-5V7zM12 12l9-5M12 12L3 7M12 12v10',
  machines: 'M4 4h16v6H4zM4 14h16v6H4zM7 7h1M7 17h1',
  bell: 'M6 17h12l-1.5-2.5V10a4.5 4.5 0 0 0-9 0v4.5zM10 20h4',
  plus: 'M12 5v14M5 12h14',
  light:
    'M12 7a5 5 0 1 0 .1 0M12 1v2M12 21v2M1 12h2M21 12h2M4.2 4.2l1.4 1.4M18.4 18.4l1.4 1.4M4.2 19.8l1.4-1.4M18.4 ' +
    '5.6l1.4-1.4',
  dark: 'M20 14A8.5 8.5 0 0 1 10 4a8.5 8.5 0 1 0 10 10z',
  auto: 'M12 3a9 9 0 1 0 .1 0M12 3v18',
} as const;

export const Icon = ({ name }: { name: keyof typeof PATHS }) => (
  <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);
