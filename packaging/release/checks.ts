export interface ReleaseState {
  readonly version: string;
  /** CHANGELOG.md. */
  readonly changelog: string;
  /** What `git status --porcelain` prints. */
  readonly changes: string;
  readonly tags: readonly string[];
  /** Packages that have not been made. */
  readonly missing: readonly string[];
}

/** @returns why this is not a release, one line each, with what to do */
export function problems({ version, changelog, changes, tags, missing }: ReleaseState): readonly string[] {
  const heading = `## [${version}] - `;
  const isDated = changelog
    .split('\n')
    .some((line) => line.startsWith(heading) && /^\d{4}-\d\d-\d\d$/.test(line.slice(heading.length)));
  return [
    ...(changes === '' ? [] : ['the clone has changes: commit them, or put them aside']),
    ...(isDated ? [] : [`CHANGELOG.md has no heading "${heading}YYYY-MM-DD": date its newest part`]),
    ...(tags.includes(`v${version}`)
      ? [`the tag v${version} exists: raise the version in package.json`]
      : []),
    ...missing.map((file) => `${file} is missing: run npm run package and npm run package:image`),
  ];
}
