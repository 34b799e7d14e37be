/** The direction of imports, read from the import lines: who may know whom. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { expect } from 'chai';

const SRC = resolve(__dirname, '..', '..', 'src');

/**
 * What each folder may import besides itself: folders, or single modules of a folder. `config` looks at the host's
 * mounts for its checks; `plan` knows the record of a running subhost as the plain data that it is.
 */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  '.': [],
  sys: ['errors'],
  net: ['errors', 'sys'],
  config: ['errors', 'net/cable', 'stack/root-kind', 'sys/mountinfo'],
  stack: ['errors', 'config/subhost-config'],
  plan: ['errors', 'config', 'stack', 'net/cable', 'state/subhost-state'],
  state: ['errors', 'sys', 'config', 'net/cable', 'plan'],
  launch: ['errors', 'sys', 'config', 'stack', 'net', 'plan', 'state'],
  cli: ['errors', 'sys', 'config', 'stack', 'net', 'plan', 'state', 'launch'],
};

/** Each outside package, and the one file that imports it. */
const DOORS: Readonly<Record<string, string>> = {
  netlink: 'net/rtnetlink',
  execa: 'sys/run',
  'node-pty': 'sys/pty',
  pidusage: 'sys/usage',
  ini: 'config/settings-file',
};

/** A file of src/cli that is a command, not a piece that commands share. */
const COMMAND = /^cli\/(overlay-|wafers$|stacko$|boxctl$|mount\.)/;

interface Import {
  readonly from: string;
  /** What the import line says. */
  readonly said: string;
  /** Module below src/ without its extension, or the package. */
  readonly target: string;
  readonly dynamic: boolean;
  readonly typeOnly: boolean;
  /** Text between `import` and `from`. */
  readonly names: string;
}

const modules: readonly { readonly name: string; readonly text: string }[] = readdirSync(SRC, {
  recursive: true,
  encoding: 'utf8',
})
  .filter((file) => file.endsWith('.ts'))
  .map((file) => ({
    name: file.replace(/\.ts$/, ''),
    text: withoutComments(readFileSync(join(SRC, file), 'utf8')),
  }));

const imports = modules.flatMap(({ name, text }) => importsOf(name, text));

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}

function importsOf(from: string, text: string): Import[] {
  const lines = [...text.matchAll(/^(?:import|export)\s+(?:([^;'"]*?)\s*from\s+)?'([^']+)'/gm)].map(
    ([, names = '', said = '']) => ({ names, said, dynamic: false }),
  );
  const calls = [...text.matchAll(/\b(?:import|require)\('([^']+)'\)/g)].map(([, said = '']) => ({
    names: '',
    said,
    dynamic: true,
  }));
  return [...lines, ...calls].map((line) => ({
    ...line,
    from,
    typeOnly: line.names.startsWith('type '),
    target: line.said.startsWith('.')
      ? relative(SRC, resolve(SRC, dirname(from), line.said)).replace(/\.js$/, '')
      : line.said,
  }));
}

const folderOf = (module: string): string => dirname(module);
const isOurs = ({ said }: Import): boolean => said.startsWith('.');
const isNodes = ({ said }: Import): boolean => said.startsWith('node:');
const packageOf = ({ said }: Import): string => said.split('/', said.startsWith('@') ? 2 : 1).join('/');
const line = ({ from, said }: Import): string => `${from}.ts imports ${said}`;

/** Modules whose text has something that `pattern` finds. */
const modulesWith = (pattern: RegExp, folders: readonly string[]): string[] =>
  modules
    .filter(({ name }) => folders.includes(folderOf(name)))
    .filter(({ text }) => pattern.test(text))
    .map(({ name }) => name);

/** `start` and everything that `next` leads to from there. */
function reachable(next: (module: string) => readonly string[], start: readonly string[]): Set<string> {
  const seen = new Set(start);
  for (const module of seen) for (const target of next(module)) seen.add(target);
  return seen;
}

const DOMAIN = Object.keys(MAY_IMPORT).filter((folder) => folder !== 'cli');

describe('imports', () => {
  it('are found: static, of types only, and dynamic', () => {
    const text = `import type { A } from '../net/cable.js';\nimport {\n  b,\n} from '../errors.js';\nawait import('../sys/run.js')`;
    const found = importsOf('plan/x', text).map(({ target, dynamic, typeOnly }) => ({
      target,
      dynamic,
      typeOnly,
    }));
    expect(found).to.deep.equal([
      { target: 'net/cable', dynamic: false, typeOnly: true },
      { target: 'errors', dynamic: false, typeOnly: false },
      { target: 'sys/run', dynamic: true, typeOnly: false },
    ]);
  });

  it('come from a folder that has a rule', () => {
    expect(modules.map(({ name }) => folderOf(name))).to.satisfy((folders: string[]) =>
      folders.every((folder) => Object.hasOwn(MAY_IMPORT, folder)),
    );
  });

  it('go one way', () => {
    const wrong = imports.filter(isOurs).filter(({ from, target }) => {
      const folder = folderOf(from);
      const allowed = [folder, ...(MAY_IMPORT[folder] ?? [])];
      return !allowed.includes(folderOf(target)) && !allowed.includes(target);
    });
    expect(wrong.map(line)).to.deep.equal([]);
  });

  it('never go in a circle', () => {
    const next = (module: string): string[] =>
      imports
        .filter((one) => one.from === module && isOurs(one) && !one.typeOnly)
        .map(({ target }) => target);
    const circles = modules.filter(({ name }) => reachable(next, next(name)).has(name));
    expect(circles.map(({ name }) => name)).to.deep.equal([]);
  });

  it('never go from one command to another', () => {
    const wrong = imports.filter(({ from, target }) => COMMAND.test(target) && from !== target);
    expect(wrong.map(line)).to.deep.equal([]);
  });

  it('bring each outside package through one door', () => {
    const wrong = imports.filter(
      (one) => !isOurs(one) && !isNodes(one) && DOORS[packageOf(one)] !== one.from,
    );
    expect(wrong.map(line)).to.deep.equal([]);
  });

  it('call a door only where it is used, by the path that the bundler leaves alone', () => {
    const doors = Object.values(DOORS);
    const wrong = imports.filter(
      ({ from, target, typeOnly, dynamic, said }) =>
        doors.includes(target) &&
        !typeOnly &&
        (!dynamic || (folderOf(from) !== '.' && said !== `../${target}.js`)),
    );
    expect(wrong.map(line)).to.deep.equal([]);
  });

  it('leave plan pure: of Node nothing but paths', () => {
    const wrong = imports.filter(
      (one) => folderOf(one.from) === 'plan' && isNodes(one) && one.said !== 'node:path',
    );
    expect(wrong.map(line)).to.deep.equal([]);
    expect(modulesWith(/\bprocess\.|\bDate\b|Math\.random/, ['plan'])).to.deep.equal([]);
  });

  it('let config and stack read files, never write them', () => {
    const writing = /\b(write|append|mk|rm|unlink|rename|copy|cp|symlink|link|chmod|chown|truncate|utimes)/;
    const wrong = imports.filter(
      ({ from, said, names }) =>
        ['config', 'stack'].includes(folderOf(from)) &&
        /^node:(fs|child_process|net)/.test(said) &&
        writing.test(names),
    );
    expect(wrong.map(line)).to.deep.equal([]);
  });

  it('keep the environment, the terminal and the exit code to the commands', () => {
    const terminal = /\bprocess\.(env|argv|exit|exitCode|stdout|stderr|stdin)\b|\bconsole\./;
    expect(modulesWith(terminal, DOMAIN)).to.deep.equal([]);
  });
});
