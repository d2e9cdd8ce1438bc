import assert from 'node:assert/strict';
import { test } from 'node:test';
import { debianChangelog, debianVersion } from './changelog.js';

const RELEASE = { version: '1.2.0-rc.1', maintainer: 'A Person <a@example.org>', date: 1_796_000_000 };

test("the newest part of the changelog is in Debian's format, without Markdown", () => {
  const markdown = `# Changelog
[link](https://example.org)

## [Unreleased]

### Added
- **Networks.** \`lametun serve\` on one machine and \`lametun join TOKEN\` on the others, as
  [the manual](docs/NETWORKS.md) says.
- More.

### Fixed
- A bug.

## [1.0.0] - 2026-01-01

### Added
- Old.
`;
  assert.equal(
    debianChangelog(markdown, RELEASE),
    `lametun (1.2.0~rc.1) stable; urgency=medium

  [ Added ]
  * Networks. lametun serve on one machine and lametun join TOKEN on the others,
    as the manual says.
  * More.

  [ Fixed ]
  * A bug.

 -- A Person <a@example.org>  Mon, 30 Nov 2026 00:53:20 +0000
`,
  );
});

test('a release without changes is an error', () => {
  assert.throws(() => debianChangelog('# Changelog\n', RELEASE), /no changes of this release/);
});

test('a version before a release is older than the release, as dpkg compares them', () => {
  assert.equal(debianVersion('1.0.0'), '1.0.0');
  assert.equal(debianVersion('1.0.0-rc.1'), '1.0.0~rc.1');
});
