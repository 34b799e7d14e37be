/**
 * The errors of the whole program. Every one of them can say in one line what is wrong, where, why,
 * and what to do about it; run-command.ts puts the command's name before it and picks the exit code.
 */

/** Exit codes of every command (a command whose model had codes of its own says so in its page). */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** A place in a file, the line counted from 1. */
export interface Place {
  readonly file: string;
  readonly line: number;
}

interface Details {
  /** What is wrong, without the place and without a full stop. */
  readonly what: string;
  /** What to do about it, where there is something. */
  readonly todo?: string | undefined;
  readonly at?: Place | undefined;
  readonly cause?: unknown;
}

const oneLine = ({ what, todo, at }: Details): string =>
  [at ? `${at.file}:${at.line}` : undefined, what, todo].filter((part) => part !== undefined).join(': ');

/** Wrong usage or wrong configuration: exit 2. */
export class UserError extends Error {
  override readonly name: string = 'UserError';
  readonly exitCode: number = EXIT.usage;
  readonly at: Place | undefined;

  constructor(details: Details) {
    super(oneLine(details), { cause: details.cause });
    this.at = details.at;
  }
}

/** The system, or the state it is in, did not let us: exit 1. */
export class Failure extends Error {
  override readonly name: string = 'Failure';
  readonly exitCode: number = EXIT.failure;

  constructor(details: Details) {
    super(oneLine(details), { cause: details.cause });
  }
}

/** Several mistakes found in one go, or everything that an undo could not undo: one line each. */
export class ErrorList extends Error {
  override readonly name = 'ErrorList';
  readonly errors: readonly Error[];
  readonly exitCode: number;

  constructor(errors: readonly Error[]) {
    super(errors.map((error) => error.message).join('\n'));
    this.errors = errors;
    this.exitCode = errors.some((error) => 'exitCode' in error && error.exitCode === EXIT.usage)
      ? EXIT.usage
      : EXIT.failure;
  }
}

/** Throws what was collected: nothing, the one error, or the list of them. */
export function throwAll(errors: readonly Error[]): void {
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new ErrorList(errors);
}

/** The errno name of a Node error (`ENOENT`), or undefined where there is none. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' ? code : undefined;
}

/** Why a call of the system failed: `no such file or directory (ENOENT)`, from Node's `ENOENT: no such…, open 'x'`. */
export function reasonOf(error: unknown): string {
  const errno = errnoOf(error);
  if (!(error instanceof Error)) return String(error);
  const [, words] = /^[A-Z][A-Z0-9]*: (.+?), /.exec(error.message) ?? [];
  return errno === undefined ? error.message : words === undefined ? errno : `${words} (${errno})`;
}

/**
 * Somebody else's text, fit for an error line: in double quotes, what cannot be seen (or would break the line)
 * as an escape, and cut where it is long.
 */
export function quoted(text: string): string {
  const shown = text.length > 80 ? `${text.slice(0, 80)}…` : text;
  const visible = shown.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    const code = char.codePointAt(0) ?? 0;
    return code < 0x80 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
  });
  return `"${visible}"`;
}
