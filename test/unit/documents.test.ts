/** The documents against the program: what they name exists, and what exists is in them. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect } from 'chai';
import { DEFAULT_CAPABILITIES } from '../../src/config/capabilities.js';
import { VARIABLES } from '../../src/config/variables.js';
import { EXIT } from '../../src/errors.js';

const TOP = resolve(__dirname, '..', '..');
const read = (path: string): string => readFileSync(join(TOP, path), 'utf8');
const manifest = JSON.parse(read('package.json')) as {
  readonly bin: Readonly<Record<string, string>>;
  readonly scripts: Readonly<Record<string, string>>;
};

const commands = Object.keys(manifest.bin);
const pages = readdirSync(join(TOP, 'man'));
const examples = readdirSync(join(TOP, 'examples')).map((name) => `examples/${name}/README.md`);
const texts = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...examples];

/** What man(1) shows of a page, wide enough that no word is cut, and what groff complains of. */
function render(page: string, width = 4000): { readonly text: string; readonly complaints: string } {
  const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', MANWIDTH: String(width), MAN_KEEP_FORMATTING: '' };
  const argv = ['--warnings', '--no-hyphenation', '--local-file', join(TOP, 'man', page)];
  const { stdout, stderr, error } = spawnSync('man', argv, { env, encoding: 'utf8' });
  if (error) throw error;
  return { text: stdout.replace(/\s+/g, ' '), complaints: stderr };
}

const helps = new Map<string, string>();

/** The text of `NAME --help`. */
function helpOf(command: string): string {
  const known = helps.get(command);
  if (known !== undefined) return known;
  const { status, stdout, stderr } = spawnSync(join(TOP, 'bin', command), ['--help'], { encoding: 'utf8' });
  expect([status, stderr], `${command} --help`).to.deep.equal([0, '']);
  helps.set(command, stdout);
  return stdout;
}

/** The options in a help text, with their dashes: `--user`, `-u`. */
function optionsIn(help: string): string[] {
  const rows = help.matchAll(/^ {2}(?:(-\w), | {4})(--[\w-]+)/gm);
  return [...rows].flatMap(([, short, long]) => [short, long].filter((option) => option !== undefined));
}

/** Is the option there as a word of its own? */
const names = (text: string, option: string): boolean =>
  new RegExp(`(^|[\\s([|/])${option}($|[\\s,.;:=()[\\]|/])`).test(text);

describe('a manual page', () => {
  for (const page of pages) {
    it(`is without a warning of groff's, at any width: ${page}`, () => {
      for (const width of [60, 80, 132]) expect(render(page, width).complaints, `${width}`).to.equal('');
    }).timeout(60_000);

    it(`refers to pages that exist: ${page}`, () => {
      const references = [...render(page).text.matchAll(/\b((?:overlay-|subhosts)[\w.-]*)\((\d)\)/g)];
      const missing = references
        .map(([, name, section]) => `${name}.${section}`)
        .filter((file) => !pages.includes(file));
      expect(missing).to.deep.equal([]);
    });
  }

  for (const command of commands) {
    it(`names every option of its command: ${command}`, () => {
      const { text } = render(`${command}.8`);
      const options = optionsIn(helpOf(command));
      expect(options).to.include.members(['--help', '--version']);
      expect(options.filter((option) => !names(text, option))).to.deep.equal([]);
    });

    it(`names no option that its command has not: ${command}`, () => {
      const [, section = ''] = /^\.SH OPTIONS\n([\s\S]*?)^\.SH /m.exec(read(`man/${command}.8`)) ?? [];
      const named = [...section.matchAll(/^\.B[RI]? .*$/gm)].flatMap(
        ([line]) => line.replaceAll('\\', '').match(/--[\w-]+/g) ?? [],
      );
      const known = commands.flatMap((other) => optionsIn(helpOf(other)));
      expect(named.filter((option) => !known.includes(option))).to.deep.equal([]);
    });

    it(`says what the exit status means: ${command}`, () => {
      const [, section = ''] = /^\.SH EXIT STATUS\n([\s\S]*?)^\.SH /m.exec(read(`man/${command}.8`)) ?? [];
      const entries = [...section.matchAll(/^\.TP\n\.B (\S+)$/gm)].map(([, status]) => status);
      expect(entries).to.include.members([String(EXIT.failure), String(EXIT.usage)]);
    });
  }
});

describe('overlay-boot.conf(5)', () => {
  /** The entry of each variable, as it is shown. */
  const entries = new Map<string, string>();
  before(() => {
    const [, text = ''] = render('overlay-boot.conf.5').text.split(' VARIABLES ');
    const starts = VARIABLES.map(({ name }) => ({ name, at: text.search(new RegExp(` ${name}=\\S+ `)) }));
    starts.sort((a, b) => a.at - b.at);
    starts.forEach(({ name, at }, i) => {
      if (at >= 0) entries.set(name, text.slice(at, starts[i + 1]?.at));
    });
  });

  for (const { name, fallback, fallbackNote = '' } of VARIABLES) {
    it(`has ${name}, its default and its errors`, () => {
      const entry = entries.get(name) ?? '';
      if (fallbackNote === 'required') expect(entry).to.include('Required.');
      else expect(entry).to.include(`Default: ${fallback ?? fallbackNote}`);
      expect(entry).to.match(/ Error: \w/);
    });
  }

  it('lists the default capabilities, and no others', () => {
    const [, listed = ''] = /without MKNOD: ([A-Z_ ]+)\./.exec(entries.get('CAPS') ?? '') ?? [];
    expect(listed.split(' ')).to.deep.equal(DEFAULT_CAPABILITIES);
  });
});

describe('overlay-boot.settings(5)', () => {
  const settings = [...read('conf.d/overlay-boot.conf').matchAll(/^#(\w+) = (\S+)$/gm)];

  it('has every setting of the file that is installed, with its default', () => {
    const { text } = render('overlay-boot.settings.5');
    expect(settings).to.have.lengthOf.above(5);
    for (const [, key, value] of settings)
      expect(text).to.match(new RegExp(` ${key} .*?Default: ${value}[.;] `));
  });
});

describe('README.md', () => {
  const readme = read('README.md');

  it('opens with the two commands', () => {
    const [, block] = /\n\n((?: {4}.*\n)+)/.exec(readme) ?? [];
    expect(block).to.equal('    npm start\n    npm test\n');
  });

  it('names every command, every variable and every page', () => {
    for (const command of commands) expect(readme).to.include(`| \`${command}\` |`);
    for (const { name } of VARIABLES) expect(readme, name).to.match(new RegExp(`\\b${name}\\b`));
    for (const page of pages) expect(readme).to.include(`(man/${page})`);
  });

  it('has a table of exit codes', () => {
    for (const status of Object.values(EXIT))
      expect(readme).to.match(new RegExp(`^\\| ${status} \\| \\w`, 'm'));
  });

  it("has the bench's own table for figures, or says that there are none", () => {
    const [, block = ''] = /\n## Figures\n[\s\S]*?\n```\n([\s\S]*?)\n```\n/.exec(readme) ?? [];
    expect(block).to.match(/^not measured|^MEASURED +MEDIAN +MIN +MAX /);
  });

  it('gives the commands only options that they have', () => {
    const calls = [...readme.matchAll(/\b(overlay-[a-z]+)((?: +[^\s`|;]+)*)/g)];
    const wrong = calls.flatMap(([call, command = '', rest = '']) => {
      const options = rest.split(' ').filter((word) => /^--[a-z]/.test(word));
      return options
        .filter((option) => !optionsIn(helpOf(command)).includes(option))
        .map((option) => `${option}: ${call}`);
    });
    expect(wrong).to.deep.equal([]);
  });
});

describe('the documents', () => {
  for (const text of texts) {
    it(`have no dead link: ${text}`, () => {
      const links = [...read(text).matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map(([, target = '']) => target);
      const dead = links.filter(
        (link) => !link.includes('://') && !existsSync(join(TOP, dirname(text), link)),
      );
      expect(dead).to.deep.equal([]);
    });

    it(`name no command that does not exist: ${text}`, () => {
      const named = [...read(text).matchAll(/(?<![\w./-])(overlay-[a-z]+)\b(?!-|\/)/g)].map(
        ([, name = '']) => name,
      );
      const isPage = (name: string): boolean => pages.some((page) => page.startsWith(`${name}.`));
      expect(named.filter((name) => !commands.includes(name) && !isPage(name))).to.deep.equal([]);
    });

    it(`name no npm script that does not exist: ${text}`, () => {
      const named = [...read(text).matchAll(/(?:\bnpm run |`npm |^ {4}npm )([a-z][\w:-]*)/gm)].map(
        ([, script = '']) => script,
      );
      const known = ['ci', 'run', ...Object.keys(manifest.scripts)];
      expect(named.filter((script) => !known.includes(script))).to.deep.equal([]);
    });

    it(`name no file of the project that does not exist: ${text}`, () => {
      const paths = [
        ...read(text).matchAll(/(?<![\w./-])((?:bin|conf\.d|examples|man|src|test)\/[\w@./-]*\w)(?![\w*])/g),
      ];
      const missing = paths.map(([, path = '']) => path).filter((path) => !existsSync(join(TOP, path)));
      expect(missing.map((path) => relative(TOP, join(TOP, path)))).to.deep.equal([]);
    });
  }
});
