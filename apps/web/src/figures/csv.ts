/** Rows as CSV (RFC 4180). */
export const csv = (rows: readonly (readonly (string | number | null | undefined)[])[]): string =>
  rows
    .map((row) =>
      row
        .map((cell) => {
          const text = String(cell ?? '');
          return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
        })
        .join(','),
    )
    .join('\r\n') + '\r\n';
