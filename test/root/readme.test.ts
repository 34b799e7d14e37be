/** The commands of the README, as they stand there. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { PROJECT, type Sandbox, useSandbox } from '../helpers/namespaces.js';

const readme = readFileSync(join(PROJECT, 'README.md'), 'utf8');

/** The blocks of commands below a heading, a list of lines each, without the `# ` of root's prompt. */
function blocksBelow(heading: string): string[][] {
  const [, section = ''] = readme.split(`\n## ${heading}\n`);
  const [text = ''] = section.split('\n## ');
  const blocks = text.match(/(?:^ {4}# .*\n)+/gm) ?? [];
  return blocks.map((block) =>
    block
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/^ {4}# /, '')),
  );
}

describe('the README', () => {
  const sandbox = useSandbox();

  /** Types the lines into one shell in the clone; `input` is what its commands read. */
  const type = async (box: Sandbox, lines: readonly string[], input = '') =>
    await box.run(['/bin/sh', '-euc', lines.join('\n')], { cwd: PROJECT, input });

  it('boots a first subhost in five lines, shows it and stops it', async () => {
    const [boot = [], look = []] = blocksBelow('A first subhost of your own');
    expect(boot).to.have.lengthOf(5);

    const booted = await type(sandbox(), boot, 'hostname\necho written >/etc/written-inside\n');
    expect(booted).to.include({ code: 0, stderr: '', stdout: 'mine: running\nmine\n' });
    expect(await sandbox().readFile('/opt/subhost/mine/root/etc/written-inside')).to.equal('written\n');

    const stopped = await type(sandbox(), look);
    expect(stopped).to.include({ code: 0, stderr: '' });
    expect(stopped.stdout).to.match(/^mine\n {2}State +running\n[\s\S]*\nmine: stopped\n$/);
    expect(await sandbox().sh('ls /run/overlay-boot /run/netns')).to.equal(
      '/run/netns:\n\n/run/overlay-boot:\n',
    );
  });

  it('plugs it into a bridge', async () => {
    const [lines = []] = blocksBelow('Cables');
    const stop = 'overlay-stop mine; ip link delete br0';
    const address = /`(ip netns exec mine ip address add [^`]+)`/.exec(readme)?.[1] ?? 'false';
    const shown = 'ip -j link show mine0; ip netns exec mine ip -j address show eth0';
    const { code, stdout, stderr } = await type(sandbox(), [...lines, address, shown, stop]);
    expect([code, stderr]).to.deep.equal([0, '']);
    expect(stdout).to.include('"master":"br0"').and.include('"address":"02:00:00:00:00:01"');
    expect(stdout).to.include('"local":"192.0.2.2"');
  });
});
