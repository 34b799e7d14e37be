import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { DEFAULT_SETTINGS, loadSettings } from '../../../src/config/settings.js';
import { readSubhostsList } from '../../../src/config/subhosts-list.js';

const uid = process.geteuid?.() ?? 0;
let dir: string;
const put = (name: string, text: string): void => writeFileSync(join(dir, name), text, { mode: 0o644 });

const makeDir = (): void => {
  dir = mkdtempSync(join(tmpdir(), 'settings-'));
};
const removeDir = (): void => rmSync(dir, { recursive: true });

describe('loadSettings', () => {
  beforeEach(makeDir);
  afterEach(removeDir);

  it('gives the defaults without a directory, and without a file that ends in .conf', async () => {
    put('README', 'nothing');
    put('.hidden.conf', 'nothing');
    expect(await loadSettings(join(dir, 'none'), { uid })).to.equal(DEFAULT_SETTINGS);
    expect(await loadSettings(dir, { uid })).to.equal(DEFAULT_SETTINGS);
  });

  it('reads the files by name, and a later one wins', async () => {
    put('20-b.conf', '[timeouts]\nboot = 7\n');
    put(
      '10-a.conf',
      '; all of them\n[paths]\nrun=/run/x/\nlog = /var/log/x\nsubhosts = "/etc/x;y"\n[timeouts]\nboot=1\nservice=0.5\ngrace=0\n',
    );
    expect(await loadSettings(dir, { uid })).to.deep.equal({
      runDir: '/run/x',
      logDir: '/var/log/x',
      subhosts: '/etc/x;y',
      boxes: '/etc/overlay-boot/boxes',
      bootTimeoutMs: 7000,
      serviceTimeoutMs: 500,
      graceMs: 0,
    });
  });

  const bad: [text: string, message: string][] = [
    ['[path]\nrun=/x', 'unknown section "path": the nearest known one is [paths]'],
    ['[constructor]\nrun=/x', 'unknown section "constructor": the nearest known one is [timeouts]'],
    ['run=/x', '"run" stands before the first section: write it below [paths] or [timeouts]'],
    ['paths', '"paths" stands before the first section: write it below [paths] or [timeouts]'],
    ['[paths]\nruns=/x', '[paths] has no key "runs": the nearest known one is run'],
    ['[paths]\nvalueOf=/x', '[paths] has no key "valueOf": the nearest known one is log'],
    ['[paths]\nrun=x', '[paths] run: "x" is not right: write an absolute path'],
    ['[paths]\nrun', '[paths] run: "true" is not right: write an absolute path'],
    ['[paths]\nrun[]=/x', '[paths] run: "["/x"]" is not right: write an absolute path'],
    ['[timeouts]\nboot=2m', '[timeouts] boot: "2m" is not right: write a number of seconds'],
    ['[timeouts]\nboot=-1', '[timeouts] boot: "-1" is not right: write a number of seconds'],
    ['[timeouts]\nboot=1e9', '[timeouts] boot: "1e9" is not right: write a number of seconds'],
    ['[timeouts]\nboot=null', '[timeouts] boot: "null" is not right: write a number of seconds'],
  ];
  for (const [text, message] of bad)
    it(`refuses ${JSON.stringify(text)}`, async () => {
      put('a.conf', text);
      const error = await loadSettings(dir, { uid }).catch((thrown: Error) => thrown);
      expect(error).to.include({ name: 'UserError', message: `${dir}/a.conf: ${message}` });
    });

  it('names all mistakes of all files', async () => {
    put('a.conf', '[paths]\nrun=x\n');
    put('b.conf', '[timeouts]\nboot=x\n');
    const error = await loadSettings(dir, { uid }).catch((thrown: Error) => thrown);
    expect(error).to.have.property(
      'message',
      `${dir}/a.conf: [paths] run: "x" is not right: write an absolute path\n${dir}/b.conf: [timeouts] boot: "x" is not right: write a number of seconds`,
    );
  });

  it('refuses a file that others can write', async () => {
    put('a.conf', '');
    chmodSync(join(dir, 'a.conf'), 0o666);
    const error = await loadSettings(dir, { uid }).catch((thrown: Error) => thrown);
    expect(error).to.have.property('message').that.contains(`${dir}/a.conf: is writable by others than `);
  });
});

describe('readSubhostsList', () => {
  beforeEach(makeDir);
  afterEach(removeDir);

  it('gives the confs in order, absolute, each once', () => {
    put(
      'subhosts.conf',
      '# all\n\n /opt/mta/mta.conf \r\nweb/web.conf\n  # not this\n/opt/mta/../mta/mta.conf\nlast#1.conf',
    );
    expect(readSubhostsList(join(dir, 'subhosts.conf'), { uid })).to.deep.equal([
      '/opt/mta/mta.conf',
      join(dir, 'web/web.conf'),
      join(dir, 'last#1.conf'),
    ]);
  });

  it('is empty where there is none', () => {
    expect(readSubhostsList(join(dir, 'subhosts.conf'), { uid })).to.deep.equal([]);
  });

  it('refuses a list that others can write, and a NUL byte', () => {
    put('subhosts.conf', 'a\0b');
    const list = join(dir, 'subhosts.conf');
    expect(() => readSubhostsList(list, { uid })).to.throw(`${list}:1: a NUL byte in a path`);
    chmodSync(list, 0o666);
    expect(() => readSubhostsList(list, { uid })).to.throw(`${list}: is writable by others than `);
  });
});
