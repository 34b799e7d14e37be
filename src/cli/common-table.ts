/** Text for people: tables, sizes, times, colours, and what a terminal must not get. */

export type Colour = 'green' | 'yellow' | 'red';

const CODES: Readonly<Record<Colour, number>> = { red: 31, green: 32, yellow: 33 };

export interface Column<Row> {
  readonly title: string;
  readonly align?: 'left' | 'right';
  /** The cell's text; undefined or an empty one is shown as `-`. */
  text(row: Row): string | undefined;
  /** The cell's colour, on a terminal. */
  colour?(row: Row): Colour | undefined;
}

/** A line of titles and one for each row, the columns two blanks apart. */
export function textTable<Row>(
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  { fancy = false }: { readonly fancy?: boolean } = {},
): string {
  // Column after column, the last one without blanks behind it: of a thousand lines one may be very long.
  let lines = ['', ...rows.map(() => '')];
  for (const [i, column] of columns.entries()) {
    const texts = [column.title, ...rows.map((row) => printable(column.text(row) || '-'))];
    const width = Math.max(...texts.map(({ length }) => length));
    const [isLast, isRight] = [i === columns.length - 1, column.align === 'right'];
    lines = texts.map((text, r) => {
      const row = fancy ? rows[r - 1] : undefined;
      const shown = row ? paint(text, column.colour?.(row)) : text;
      if (isLast && !isRight) return lines[r] + shown;
      const blanks = ' '.repeat(width - text.length);
      return `${lines[r]}${isRight ? blanks + shown : shown + blanks}${isLast ? '' : '  '}`;
    });
  }
  return lines.map((line) => line.trimEnd()).join('\n');
}

/** The text in a colour, or as it is. */
export const paint = (text: string, colour: Colour | undefined): string =>
  colour ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text;

/** Control characters as `\x1b`: what a subhost wrote must not steer the terminal of who reads it. */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (char) => (char === '\t' ? char : escapeOf(char)));

const escapeOf = (char: string): string => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`;

/** JSON without the control characters that JSON.stringify() leaves: DEL, and those of ISO 6429's second set. */
export const jsonText = (value: unknown, indent?: number): string =>
  JSON.stringify(value, null, indent).replace(
    /[\x7f-\x9f]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/** `12.3M`: in powers of 1024. */
export function sizeText(bytes: number): string {
  const letters = ['B', 'K', 'M', 'G', 'T'];
  let value = bytes;
  let i = 0;
  while (value >= 1023.95 && i < letters.length - 1) {
    value /= 1024;
    i++;
  }
  return `${i === 0 ? value : value.toFixed(1)}${letters[i]}`;
}

/** `42s`, `3min 7s`, `2h 5min`, `3d 4h`: the two largest units. */
export function durationText(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [
    [Math.floor(whole / 86400), 'd'],
    [Math.floor(whole / 3600) % 24, 'h'],
    [Math.floor(whole / 60) % 60, 'min'],
    [whole % 60, 's'],
  ] as const;
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return '0s';
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join(' ');
}
