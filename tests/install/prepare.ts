/** Makes what the tests of installation need, outside their namespaces: Debian's root file systems, and packages. */
import { makeDebs } from '../../packaging/deb/make.js';
import { makeSingleFiles } from '../../packaging/single-file/make.js';
import { ALL_ROOTS, makeRoot } from './debian.js';
import { makeNpmPackages } from './npm.js';
import { NEWER, OLDER } from './versions.js';

for (const root of ALL_ROOTS) makeRoot(root);
makeNpmPackages();
await makeSingleFiles(['x64']);
process.env['DPKG_DEB_COMPRESSOR_LEVEL'] = '0'; // quick, dpkg-deb(1)
for (const version of [OLDER, NEWER]) makeDebs(['x64'], version);
