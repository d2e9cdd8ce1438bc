/**
 * The date of a manual page: the newest one in the changelog. Before the first release there is none.
 *
 * @param epoch seconds since 1970, https://reproducible-builds.org/specs/source-date-epoch/: then the date is this
 * @returns `2026-12-01`, or an empty text
 */
export function releaseDate(changelog: string, epoch: string | undefined): string {
  if (epoch !== undefined) return new Date(Number(epoch) * 1000).toISOString().slice(0, 10);
  return /^## \[\d[^\]]*\] - (\d{4}-\d\d-\d\d)$/m.exec(changelog)?.[1] ?? '';
}
