/** conf.d/bash-completion: what a shell offers after what has been typed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { expect } from 'chai';

const TOP = resolve(__dirname, '..', '..');
/** Does what bash does when Tab is pressed: calls the function of the command, with the words in its variables. */
const PRESS_TAB = `
  source "$0"
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
  read -r _ _ function _ < <(complete -p "$1")
  "$function" "$1" "\${COMP_WORDS[COMP_CWORD]}" "\${COMP_WORDS[COMP_CWORD - 1]}"
  printf '%s\\n' "\${COMPREPLY[@]}"
`;

describe('completion in bash', () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), 'overlay-boot-completion-'));
    for (const wafer of ['debian', 'web', 'points/shop'])
      mkdirSync(join(dir, 'wafers', wafer, 'data'), { recursive: true });
    for (const file of ['web.conf', 'notes']) writeFileSync(join(dir, file), '');
  });
  after(() => rmSync(dir, { recursive: true }));

  /** What is offered for the last word. */
  function offered(...words: string[]): string[] {
    const env = { PATH: `${join(TOP, 'bin')}:${process.env.PATH}`, WAFERS: join(dir, 'wafers') };
    const argv = ['--norc', '-c', PRESS_TAB, join(TOP, 'conf.d/bash-completion'), ...words];
    const { stdout, stderr } = spawnSync('bash', argv, { cwd: dir, env, encoding: 'utf8' });
    expect(stderr).to.equal('');
    return stdout.split('\n').filter(Boolean).sort();
  }

  const cases: [title: string, words: string[], expected: string[]][] = [
    ['confs and directories', ['overlay-boot', ''], ['wafers', 'web.conf']],
    ['options', ['overlay-boot', '--no'], ['--no-eval']],
    ['nothing in the place of a number', ['overlay-boot', '--timeout', ''], []],
    ['confs after the value of an option', ['overlay-boot', '--timeout', '9', 'w'], ['wafers', 'web.conf']],
    ['verbs', ['wafers', ''], ['stack', 'tree', 'unstack']],
    ['verbs that begin so', ['stacko', 'umount'], ['umount-stackpoint']],
    ['wafers', ['wafers', 'stack', ''], ['debian', 'web']],
    ['any number of wafers', ['wafers', 'unstack', 'web', 'x', 'd'], ['debian']],
    ['nothing after the last word', ['wafers', 'stack', 'web', 'debian', ''], []],
    ['points', ['stacko', 'cutover-stackpoint', ''], ['shop']],
    ['images in the second place', ['stacko', 'cutover-stackpoint', 'shop', 'w'], ['web']],
    ['files', ['stacko', 'import-image', 'no'], ['notes']],
    ['users as the value of an option', ['overlay-go', '-u', 'roo'], ['root']],
    ['programs for the command inside', ['overlay-go', 'web', 'true', 'nsente'], ['nsenter']],
  ];
  for (const [title, words, expected] of cases)
    it(`offers ${title}: ${words.join(' ')}`, () => expect(offered(...words)).to.deep.equal(expected));

  it('is there for every command', () => {
    const { bin } = JSON.parse(readFileSync(join(TOP, 'package.json'), 'utf8')) as { bin: object };
    for (const command of Object.keys(bin))
      expect(offered(command, '--h'), command).to.deep.equal(['--help']);
  }).timeout(60_000);
});
