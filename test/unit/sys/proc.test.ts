import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  allPids,
  hostUptimeSeconds,
  namespaceInode,
  pidsOfCgroup,
  pidsOfNamespace,
  pidsOfTree,
} from '../../../src/sys/proc.js';

describe('pidsOfCgroup', () => {
  it('counts the groups below, too', () => {
    const directory = mkdtempSync(join(tmpdir(), 'cgroup-'));
    try {
      mkdirSync(join(directory, 'below'));
      writeFileSync(join(directory, 'cgroup.procs'), '1\n22\n');
      writeFileSync(join(directory, 'below', 'cgroup.procs'), '333\n');
      expect(pidsOfCgroup(directory)).to.deep.equal([1, 22, 333]);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('says that there is no such group', () => expect(pidsOfCgroup('/no/such/group')).to.equal(undefined));
});

describe('namespaceInode', () => {
  it('is the same for the process and its namespace-mates', () => {
    const own = namespaceInode('self', 'pid');
    expect(own).to.be.greaterThan(0);
    expect(namespaceInode(process.pid, 'pid')).to.equal(own);
  });

  it('is undefined for a process that is gone', () =>
    expect(namespaceInode(2 ** 22 + 1, 'net')).to.equal(undefined));
});

describe('pidsOfNamespace', () => {
  it('holds this process', () => expect(pidsOfNamespace(process.pid)).to.include(process.pid));
});

describe('pidsOfTree', () => {
  it('holds a process, its child, and not its parent', () => {
    const child = spawn('sleep', ['60']);
    try {
      const tree = pidsOfTree(process.pid);
      expect(tree).to.include(process.pid).and.to.include(child.pid);
      expect(tree).to.not.include(process.ppid);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

describe('allPids', () => {
  it('holds this process', () => expect(allPids()).to.include(process.pid));
});

describe('hostUptimeSeconds', () => {
  it('grows', () => expect(hostUptimeSeconds()).to.be.greaterThan(0));
});
