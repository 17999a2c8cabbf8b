// The checkout's own package.json does not name the packages with the prebuilt addons, so it must not be published.
process.stderr.write('sterna: `npm run pack` writes the tarballs; publish those, the sterna-kernels-* ones first: npm publish FILE.tgz\n');
process.exitCode = 1;
