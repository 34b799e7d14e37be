import { spawn } from 'node:child_process';
import { expect } from 'chai';
import { UsageMeter } from '../../../src/sys/usage.js';

describe('UsageMeter', () => {
  it('measures cpu and memory, the first time over the whole life of a process', async () => {
    const busy = spawn('sh', ['-c', 'echo up; while :; do :; done']);
    await new Promise((done) => busy.stdout.once('data', done));
    const meter = new UsageMeter();
    const pid = busy.pid ?? 0;
    try {
      const deadline = Date.now() + 10_000;
      let usage = await meter.sum([pid]);
      while (usage.cpuPercent === 0 && Date.now() < deadline) {
        await new Promise((done) => setTimeout(done, 100));
        usage = await meter.sum([pid]);
      }
      expect(usage.cpuPercent).to.be.greaterThan(0);
      expect(usage.memoryBytes).to.be.greaterThan(0);
    } finally {
      busy.kill('SIGKILL');
    }
  });

  it('counts nothing for a process that is gone, and for none at all', async () => {
    const meter = new UsageMeter();
    expect(await meter.sum([])).to.deep.equal({ cpuPercent: 0, memoryBytes: 0 });
    const { memoryBytes } = await meter.sum([process.pid, 2 ** 22 + 1]);
    expect(memoryBytes).to.be.greaterThan(0);
  });
});
