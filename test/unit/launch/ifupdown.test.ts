import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { bringDown, bringUp } from '../../../src/launch/ifupdown.js';

describe('bringUp', () => {
  let directory: string;
  let path: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'ifup-'));
    path = `${directory}:/usr/bin:/bin`;
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  const standIn = (name: string, script: string): void =>
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });

  const said: readonly [string, string, string][] = [
    ['Debian', 'echo "ifup: unknown interface mta0" >&2; exit 1', 'no-stanza'],
    [
      'Debian without its file',
      'echo "ifup: couldn\'t open x\nifup: unknown interface mta0" >&2; exit 1',
      'no-stanza',
    ],
    ['old Debian', 'echo "Ignoring unknown interface mta0=mta0." >&2', 'no-stanza'],
    ['BusyBox', 'echo "ifup: ignoring unknown interface mta0" >&2; exit 1', 'no-stanza'],
    [
      'ifupdown2',
      'echo "error: cannot find interfaces: mta0 (interface was probably never up ?)" >&2; exit 1',
      'no-stanza',
    ],
    ['one that warns of another interface', 'echo "x: unknown interface mta01" >&2', 'up'],
    ['one that says nothing', 'exit 0', 'up'],
  ];
  for (const [who, script, outcome] of said) {
    it(`understands ${who}`, async () => {
      standIn('ifup', script);
      expect(await bringUp('mta0', { path })).to.equal(outcome);
    });
  }

  it('says so where there is no ifup, without looking in directories that are not absolute', async () => {
    standIn('ifup', 'exit 0');
    chmodSync(join(directory, 'ifup'), 0o644);
    expect(await bringUp('mta0', { path: `.::${directory}` })).to.equal('no-ifup');
  });

  it('makes ifup forget what it has noted of an interface before', async () => {
    standIn('ifup', `echo "$@" >${directory}/arguments; env >>${directory}/arguments`);
    await bringUp('mta0', { path });
    const lines = readFileSync(join(directory, 'arguments'), 'utf8').split('\n');
    expect(lines[0]).to.equal('-f mta0');
    expect(lines).to.include(`PATH=${path}`);
  });

  it('hands on what a failing stanza said', async () => {
    standIn('ifup', 'echo "Cannot find device br9" >&2; echo "ifup: failed to bring up mta0" >&2; exit 1');
    const error = await bringUp('mta0', { path }).catch((reason: unknown) => reason);
    expect(error).to.have.property('name', 'Failure');
    expect(error).to.have.property(
      'message',
      `${directory}/ifup -f mta0: exit status 1: ifup: failed to bring up mta0 (Cannot find device br9): see /etc/network/interfaces`,
    );
  });

  it('ends an ifup that waits for ever', async () => {
    standIn('ifup', 'sleep 100');
    const error = await bringUp('mta0', { path, timeoutMs: 100 }).catch(String);
    expect(error).to.include('ifup -f mta0: not done within 0.1 s');
  });
});

describe('bringDown', () => {
  it('runs ifdown, or says that there is none', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'ifdown-'));
    try {
      expect(await bringDown('mta0', { path: directory })).to.equal('no-ifdown');
      writeFileSync(join(directory, 'ifdown'), `#!/bin/sh\n>${directory}/$1\n`, { mode: 0o755 });
      expect(await bringDown('mta0', { path: directory })).to.equal('down');
      expect(existsSync(join(directory, 'mta0'))).to.equal(true);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});
