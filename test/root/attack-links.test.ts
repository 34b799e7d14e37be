/** Root inside puts links where the host will look: in what was shared with it. */
import { expect } from 'chai';
import { useSubhosts } from '../helpers/subhosts.js';

describe('a link that root inside put into a share', () => {
  const subhosts = useSubhosts();
  const SHARED = '/srv/t/shared';
  const HOST = '/srv/t/host';

  beforeEach(async () => {
    await subhosts.sandbox.sh(`rm -rf ${SHARED} ${HOST}; mkdir -p ${SHARED}/way ${HOST}`);
  });

  /** Boots with the share, has its root replace the directory `way` by a link, and stops. */
  const prepared = async (values: Readonly<Record<string, string | string[]>>): Promise<string> => {
    const conf = await subhosts.up('a', { SHARE: `${SHARED}:/shared`, ...values });
    await subhosts.inside('a', `rm -rf /shared/way; ln -s ${HOST} /shared/way`);
    expect((await subhosts.stop('--kill', 'a')).code).to.equal(0);
    return conf;
  };
  const refusal = (variable: string, path: string): string =>
    `overlay-boot: /opt/subhost/a/a.conf: ${variable}: ${path} leads over a symbolic link in SHARE ${SHARED}, which the subhost can change: name what the link leads to`;

  it('does not lead the log of the next boot', async () => {
    const conf = await prepared({ LOG: `${SHARED}/way/a.log` });
    expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([refusal('LOG', `${SHARED}/way`)]);
    expect(await subhosts.sandbox.sh(`ls ${HOST}`)).to.equal('');
  });

  it('does not lead another share of the next boot', async () => {
    const conf = await prepared({ SHARE: [`${SHARED}:/shared`, `${SHARED}/way:/way`] });
    expect(await subhosts.refused(conf, { code: 2 })).to.deep.equal([refusal('SHARE', `${SHARED}/way`)]);
  });

  it('does not lead overlay-share, nor does one in its root', async () => {
    await subhosts.up('a', { SHARE: `${SHARED}:/shared` });
    await subhosts.inside('a', `rm -rf /shared/way; ln -s ${HOST} /shared/way; ln -s ${HOST} /way`);
    for (const [path, directory] of [
      [`${SHARED}/way`, SHARED],
      [`${subhosts.base('a')}/root/way`, `${subhosts.base('a')}/root`],
    ] as const) {
      const { code, stderr } = await subhosts.sandbox.run(['overlay-share', path, 'a', '/mnt']);
      expect({ code, stderr }).to.deep.equal({
        code: 1,
        stderr: `overlay-share: a: ${path} leads over a symbolic link in ${directory}, which the subhost can change: name what the link leads to\n`,
      });
    }
  });

  it('does not lead another subhost: its share, its log, or what is attached to it', async () => {
    await subhosts.up('a', { SHARE: `${SHARED}:/shared` });
    await subhosts.inside('a', `rm -rf /shared/way; ln -s ${HOST} /shared/way`);
    const other = (variable: string): string =>
      `overlay-boot: /opt/subhost/b/b.conf: ${variable}: ${SHARED}/way leads over a symbolic link in ${SHARED}, which subhost a can change: name what the link leads to`;
    const sharing = await subhosts.make('b', { SHARE: `${SHARED}/way:/way` });
    expect(await subhosts.refused(sharing, { code: 2 })).to.deep.equal([other('SHARE')]);
    expect(await subhosts.refused(sharing, { code: 2, options: ['--check'] })).to.deep.equal([
      other('SHARE'),
    ]);
    const logging = await subhosts.make('b', { LOG: `${SHARED}/way/b.log` });
    expect(await subhosts.refused(logging, { code: 2 })).to.deep.equal([other('LOG')]);
    await subhosts.up('b');
    const { code, stderr } = await subhosts.sandbox.run(['overlay-share', `${SHARED}/way`, 'b', '/mnt']);
    expect({ code, stderr }).to.deep.equal({
      code: 1,
      stderr: `overlay-share: b: ${SHARED}/way leads over a symbolic link in ${SHARED}, which subhost a can change: name what the link leads to\n`,
    });
    expect(await subhosts.sandbox.sh(`ls ${HOST}`)).to.equal('');
  });
});
