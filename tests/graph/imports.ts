import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A source file of the product, or a unit test beside one. */
export interface SourceFile {
  /** `src/ip/address.ts`. */
  readonly path: string;
  /** `ip`; empty for files directly in `src/`. */
  readonly room: string;
  readonly isTest: boolean;
  readonly lines: number;
  /** Its imports, including types: the path of a file, or the name of a package. */
  readonly imports: readonly string[];
}

/** All TypeScript files of `src/`. */
export function readSources(): readonly SourceFile[] {
  return readdirSync('src', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .sort()
    .map((name) => {
      const path = join('src', name);
      const text = readFileSync(path, 'utf8');
      const specifiers = Array.from(
        text.matchAll(/(?:from|import|import\()\s*'([^']+)'/g),
        ([, name]) => name!,
      );
      return {
        path,
        room: name.includes('/') ? name.split('/')[0]! : '',
        isTest: name.endsWith('.test.ts'),
        lines: text.split('\n').length - 1,
        imports: specifiers.map((specifier) =>
          specifier.startsWith('.') ? join(path, '..', specifier).replace(/\.js$/, '.ts') : specifier,
        ),
      };
    });
}

/** The room of a path; undefined for packages, `tests/`, and files directly in `src/`. */
export const roomOf = (path: string): string | undefined => /^src\/(\w+)\//.exec(path)?.[1];

/** The number of imports from one room to another, by `from to`, without those of tests. */
export function countArrows(sources: readonly SourceFile[]): ReadonlyMap<string, number> {
  const arrows = new Map<string, number>();
  for (const { room, isTest, imports } of sources) {
    if (isTest || room === '') continue;
    for (const target of imports) {
      const to = roomOf(target);
      if (to === undefined || to === room) continue;
      arrows.set(`${room} ${to}`, (arrows.get(`${room} ${to}`) ?? 0) + 1);
    }
  }
  return arrows;
}

/** A cycle in a graph, with its first node repeated at the end; undefined if there is none. */
export function findCycle(graph: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (node: string): readonly string[] | undefined => {
    if (trail.includes(node)) return [...trail.slice(trail.indexOf(node)), node];
    if (done.has(node)) return undefined;
    trail.push(node);
    for (const next of graph.get(node) ?? []) {
      const cycle = visit(next);
      if (cycle) return cycle;
    }
    trail.pop();
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const cycle = visit(node);
    if (cycle) return cycle;
  }
  return undefined;
}
