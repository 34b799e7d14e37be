import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { currentBootId, isLocked, isRunning } from '../../../src/state/liveness.js';
import {
  listStates,
  makeRunDirectory,
  readState,
  stateDirectory,
  writePidFile,
  writeState,
} from '../../../src/state/state-file.js';
import type { SubhostState } from '../../../src/state/subhost-state.js';
import { readProcessStat } from '../../../src/sys/process-stat.js';

describe('records of subhosts', () => {
  let run: string;
  beforeEach(() => {
    run = mkdtempSync(join(tmpdir(), 'overlay-boot-state-'));
    mkdirSync(join(run, 'mta'));
  });
  afterEach(() => {
    rmSync(run, { recursive: true });
  });

  const us = { pid: process.pid, startTimeTicks: readProcessStat(process.pid)?.startTimeTicks ?? 0 };
  const state = (change: Partial<SubhostState> = {}): SubhostState => ({
    ...{
      version: 1,
      name: 'mta',
      conf: '/b/mta.conf',
      phase: 'running',
      step: 'ready',
      bootId: currentBootId(),
    },
    ...{
      startedAtMs: 1,
      base: '/b',
      live: '/b/live',
      upper: '/b/root',
      lower: ['/'],
      log: '/l',
      netns: '/n',
    },
    ...{ cables: [], ifup: [], shares: [], start: [], degraded: [] },
    ...change,
  });

  it('come back as they were written, and nothing is left beside them', () => {
    writeState(run, state({ init: us, degraded: ['ssh'] }));
    expect(readState(run, 'mta')).to.deep.equal(state({ init: us, degraded: ['ssh'] }));
    writePidFile(run, 'mta', 42);
    expect(readdirSync(join(run, 'mta')).sort()).to.deep.equal(['pid', 'state.json']);
    expect(readFileSync(join(run, 'mta/pid'), 'utf8')).to.equal('42\n');
  });

  it('that are not there are undefined, and no subhosts are listed without a run directory', () => {
    expect(readState(run, 'mta')).to.equal(undefined);
    expect(readState(run, 'other')).to.equal(undefined);
    expect(listStates(join(run, 'no'))).to.deep.equal([]);
    expect(listStates(run)).to.deep.equal(['mta']);
  });

  const broken: readonly [string, string, string][] = [
    ['is no JSON', '{', 'is no record of a subhost: overlay-stop mta clears it'],
    ['is of another version', '{"version":2}', 'was written by another version of this program'],
  ];
  for (const [title, text, message] of broken)
    it(`one that ${title} is an error that says so`, () => {
      const path = join(run, 'mta/state.json');
      writeFileSync(path, text);
      expect(() => readState(run, 'mta')).to.throw(`${path} ${message}`);
    });

  it('are in a directory that is made with all above it', () => {
    makeRunDirectory(join(run, 'a/b'));
    expect(readdirSync(join(run, 'a/b'))).to.deep.equal([]);
    expect(stateDirectory('/run/x', 'mta')).to.equal('/run/x/mta');
  });

  it('tell of a running subhost while its pid 1 is that process', () => {
    expect(isRunning(run, state({ init: us }))).to.equal(true);
    expect(isRunning(run, state({ init: { ...us, startTimeTicks: us.startTimeTicks + 1 } }))).to.equal(false);
    expect(isRunning(run, state())).to.equal(false);
  });

  it('of another boot of the host tell of nothing that runs', () => {
    expect(isRunning(run, state({ init: us, bootId: 'another' }))).to.equal(false);
  });

  it('tell of a running subhost while its lock is held, and looking does not take it', async () => {
    expect(isLocked(run, 'mta')).to.equal(false);
    const holder = spawn('flock', [join(run, 'mta'), 'sh', '-c', 'echo held; read x'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    await new Promise((done) => holder.stdout.once('data', done));
    expect(isLocked(run, 'mta')).to.equal(true);
    expect(isRunning(run, state())).to.equal(true);
    expect(isLocked(run, 'other')).to.equal(false);
    const ended = new Promise((done) => holder.once('close', done));
    holder.stdin.end('\n');
    await ended;
    expect(isLocked(run, 'mta')).to.equal(false);
  });
});
