/** What a command is: one table of options, from which parsing, `--help` and the usage line are made. */
import { parseArgs } from 'node:util';
import { UserError } from '../errors.js';

export interface OptionSpec {
  /** Long name without dashes. */
  readonly name: string;
  /** One letter. */
  readonly short?: string;
  /** Name of the value in the usage text; without it the option is a switch. */
  readonly value?: string;
  /** The value where the option stands without one; another is then given as `--name=VALUE` only. */
  readonly ifBare?: string;
  readonly help: string;
}

export interface Arguments {
  readonly positionals: readonly string[];
  /** Is the switch given? */
  has(option: string): boolean;
  /** The value of an option, the last one given. */
  value(option: string): string | undefined;
}

/** What a command may touch of the process it runs in; a test hands in another. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Colours, progress bars, `--watch` in place: a terminal, and no NO_COLOR. */
  readonly fancy: boolean;
  /** Effective user id. */
  readonly uid: number;
  /** Writes a line to stdout; one that cannot be written is dropped, and the exit status tells it where it matters. */
  print(line: string): void;
  /** Nobody reads stdout any more: what only prints may end. */
  outputIsLost(): boolean;
  /** Writes `COMMAND: line` to stderr. */
  warn(line: string): void;
}

export interface Command {
  readonly name: string;
  /** One line for `--help` and the README. */
  readonly summary: string;
  /** Usage lines without the command's name: `[OPTIONS] CONF...`. */
  readonly usage: readonly string[];
  readonly options: readonly OptionSpec[];
  /** Options end at the first positional argument: what follows is somebody else's command line. */
  readonly optionsFirst?: boolean;
  /** When `main` has returned nothing is under way any more: Node need not take itself apart, which takes a while. */
  readonly endsAtOnce?: boolean;
  /** Returns the exit code. */
  main(args: Arguments, terminal: Terminal): Promise<number>;
}

const COMMON: readonly OptionSpec[] = [
  { name: 'help', short: 'h', help: 'show this help and exit' },
  { name: 'version', help: 'show the version and exit' },
];

/**
 * Parses a command line by the command's table.
 * @throws UserError for an unknown option, or a value that is missing or not wanted.
 */
export function parseCommandLine(command: Command, argv: readonly string[]): Arguments {
  const specs = [...command.options, ...COMMON];
  const { own, rest } = command.optionsFirst ? splitAtFirstPositional(specs, argv) : { own: argv, rest: [] };
  const options = Object.fromEntries(
    specs.map((spec) => [
      spec.name,
      {
        type: spec.value ? ('string' as const) : ('boolean' as const),
        ...(spec.short && { short: spec.short }),
      },
    ]),
  );
  try {
    const end = own.indexOf('--');
    const given = end < 0 ? own : own.slice(0, end);
    const args = [...withValues(specs, given), ...own.slice(given.length)];
    const parsed = parseArgs({ args, options, allowPositionals: true, strict: true });
    const values = parsed.values as Record<string, string | boolean | undefined>;
    return {
      positionals: [...parsed.positionals, ...rest],
      has: (name) => values[name] !== undefined,
      value: (name) => (typeof values[name] === 'string' ? values[name] : undefined),
    };
  } catch (cause) {
    const why = cause instanceof Error ? (cause.message.split(/\.\s/)[0] ?? '') : String(cause);
    throw new UserError({
      what: why.charAt(0).toLowerCase() + why.slice(1),
      todo: `see ${command.name} --help`,
      cause,
    });
  }
}

/** Each option with its value in one word, where that would else be taken for an option: `--timeout -1`. */
function withValues(specs: readonly OptionSpec[], given: readonly string[]): string[] {
  const args: string[] = [];
  for (let i = 0; i < given.length; i++) {
    const [word = '', next = ''] = given.slice(i);
    const takesNext = specs.some(
      ({ name, value, ifBare }) => value && ifBare === undefined && word === `--${name}`,
    );
    if (takesNext && /^-[0-9]/.test(next)) args.push(`${word}=${given[++i]}`);
    else args.push(bareValue(specs, word) ?? word);
  }
  return args;
}

const bareValue = (specs: readonly OptionSpec[], word: string): string | undefined =>
  specs
    .filter(({ name, ifBare }) => ifBare !== undefined && word === `--${name}`)
    .map(({ name, ifBare }) => `--${name}=${ifBare}`)[0];

/** `overlay-go -u joe mta ls -l`: the `-l` belongs to `ls`. */
function splitAtFirstPositional(
  specs: readonly OptionSpec[],
  argv: readonly string[],
): { own: readonly string[]; rest: readonly string[] } {
  const takesValue = (word: string): boolean =>
    specs.some((spec) => spec.value && (word === `--${spec.name}` || word === `-${spec.short}`));
  let index = 0;
  for (; index < argv.length; index++) {
    const word = argv[index] ?? '';
    if (word === '--') return { own: argv.slice(0, index), rest: argv.slice(index + 1) };
    if (!word.startsWith('-') || word === '-') break;
    if (takesValue(word)) index++;
  }
  return { own: argv.slice(0, index), rest: argv.slice(index) };
}

const valueText = ({ value, ifBare }: OptionSpec): string => {
  if (!value) return '';
  return ifBare === undefined ? ` ${value}` : `[=${value}]`;
};

/** The text of `--help`. */
export function helpText(command: Command): string {
  const usage = command.usage.map((line, i) => `${i === 0 ? 'usage: ' : '       '}${command.name} ${line}`);
  const rows = [...command.options, ...COMMON].map((spec): [string, string] => [
    `${spec.short ? `-${spec.short}, ` : '    '}--${spec.name}${valueText(spec)}`,
    spec.help,
  ]);
  const width = Math.max(...rows.map(([left]) => left.length));
  return [
    ...usage,
    '',
    `${command.summary}.`,
    '',
    ...rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`),
    '',
    `Manual: man ${command.name}`,
  ].join('\n');
}
