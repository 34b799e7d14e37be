/** conf.d/subhosts@.service: its own lines, run as systemd would; systemd itself does not run in a sandbox. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { eventually, PROJECT, useSandbox } from '../helpers/namespaces.js';

const UNIT = readFileSync(join(PROJECT, 'conf.d/subhosts@.service'), 'utf8');

/** A setting's value for the instance `one`. */
const setting = (name: string): string =>
  (new RegExp(`^${name}=(.*)$`, 'm').exec(UNIT)?.[1] ?? '').replaceAll('%i', 'one');

/** A command line of the unit, by the project's own commands. */
const command = (name: string): string[] => setting(name).replace('/usr/sbin/', '').split(' ');

describe('the systemd unit', () => {
  const sandbox = useSandbox();

  it('forks, with the process that stays in its PIDFile, until it is stopped', async () => {
    await sandbox().writeFile('/opt/subhost/one/one.conf', 'BASE=.\nSTART=none\n');
    await sandbox().writeFile('/etc/subhosts.conf', '/opt/subhost/one/one.conf\n');
    await sandbox().sh('cd /opt/subhost/one && mkdir root work live && mkdir -p /var/log/overlay-boot');
    expect(setting('Type')).to.equal('forking');
    const started = await sandbox().run(command('ExecStart'));
    expect({ code: started.code, stderr: started.stderr }).to.deep.equal({ code: 0, stderr: '' });
    const pid = (await sandbox().readFile(setting('PIDFile'))).trim();
    expect(await sandbox().sh(`cat /proc/${pid}/comm`)).not.to.match(/node|overlay-boot/);
    // The list that it sees there is the host's.
    const generator = join(PROJECT, 'conf.d/subhosts-generator');
    expect(
      await sandbox().sh(
        `overlay-go one sh -c '${generator} /tmp/u && test ! -e /tmp/u && test -x /.reaper'`,
      ),
    ).to.equal('');
    expect(setting('ConditionFileIsExecutable')).to.equal('!/.reaper');
    expect((await sandbox().run(command('ExecStop'))).code).to.equal(0);
    await eventually(
      'the process has ended',
      async () => (await sandbox().run(['test', '-d', `/proc/${pid}`])).code === 1,
    );
    expect((await sandbox().run(['test', '-e', setting('PIDFile')])).code).to.equal(1);
  });

  it('fails to start what is not listed, with the reason', async () => {
    const [program = '', option = ''] = command('ExecStart');
    const { code, stderr } = await sandbox().run([program, option, 'two']);
    expect(code).to.equal(2);
    expect(stderr)
      .to.match(/^overlay-boot: /)
      .and.include('two')
      .and.include('/etc/subhosts.conf');
  });

  it('leaves it to our own time limits to end a start', () => {
    expect(setting('TimeoutStartSec')).to.equal('infinity');
  });
});

describe('the systemd generator', () => {
  const sandbox = useSandbox();

  /** The units that subhosts.service wants when the list says so. */
  async function wanted(list: string): Promise<string[]> {
    await sandbox().writeFile('/etc/subhosts.conf', list);
    const output = await sandbox().sh(`
      rm -rf /srv/t/units && mkdir /srv/t/units
      ${join(PROJECT, 'conf.d/subhosts-generator')} /srv/t/units
      cd /srv/t/units && find . -type l -printf '%P %l\\n' | sort`);
    return output.split('\n').filter(Boolean);
  }
  const wants = (name: string): string =>
    `subhosts.service.wants/subhosts@${name}.service /usr/lib/systemd/system/subhosts@.service`;

  const cases: [title: string, list: string, names: string[]][] = [
    ['the file name without .conf', '/opt/a/web.conf\n/opt/a/mta', ['mta', 'web']],
    ['NAME of the conf', '/opt/named.conf\n', ['other']],
    ['the file name where NAME is a command', '/opt/command.conf\n', ['command']],
    ['a path relative to the list', '  ../opt/named.conf \n', ['other']],
    ['nothing of comments and blank lines', '# /opt/a/web.conf\n\n', []],
    ['nothing of what is no name', '/opt/a/two words.conf\n/opt/a/.conf\n', []],
    ['lines as other systems end them', '/opt/a/web.conf\r\n/opt/b/mta.conf\r\n', ['mta', 'web']],
    ['what has no line end', '/opt/a/web.conf', ['web']],
    ['each once', '/opt/a/web.conf\n/opt/b/web.conf\n', ['web']],
  ];
  for (const [title, list, names] of cases)
    it(`takes ${title}`, async () => {
      await sandbox().writeFile('/opt/named.conf', 'BASE=.\n#NAME=no\nNAME= other \nNAME=second\n');
      await sandbox().writeFile('/opt/command.conf', 'BASE=.\nNAME=!echo x\n');
      expect(await wanted(list)).to.deep.equal(names.map(wants));
    });

  it('has a box that systemd-nspawn runs started by the unit for that', async () => {
    await sandbox().writeFile('/opt/b.conf', 'BASE=.\nSTACK=b\n#ENGINE=subhost\nENGINE= nspawn \n');
    await sandbox().writeFile('/opt/c.conf', 'BASE=.\nENGINE=\nENGINE=nspawn\n');
    expect(await wanted('/opt/b.conf\n/opt/c.conf\n')).to.deep.equal([
      'subhosts.service.wants/box-start@b.service /usr/lib/systemd/system/box-start@.service',
      wants('c'),
    ]);
  });

  it('takes the list that the settings name', async () => {
    await sandbox().writeFile('/etc/overlay-boot/conf.d/a.conf', '[paths]\nsubhosts = /srv/t/none\n');
    await sandbox().writeFile('/etc/overlay-boot/conf.d/b.conf', '[paths]\n  subhosts=/srv/t/list \n');
    await sandbox().writeFile('/srv/t/list', '/opt/a/mta.conf\n');
    expect(await wanted('/opt/a/web.conf\n')).to.deep.equal([wants('mta')]);
    await sandbox().sh('rm /etc/overlay-boot/conf.d/*.conf');
  });

  it('makes nothing where there is no list', async () => {
    await sandbox().sh('rm -f /etc/subhosts.conf');
    const { code, stdout, stderr } = await sandbox().run([
      join(PROJECT, 'conf.d/subhosts-generator'),
      '/srv/t/units',
    ]);
    expect({ code, stdout, stderr }).to.deep.equal({ code: 0, stdout: '', stderr: '' });
  });
});
