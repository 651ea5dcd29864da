// Where a shell is meant: the walls' own fixed scripts, and the commands people write for their apps, which run within these walls.
const mayNameShell = /^(sandbox\/|build-workers\/user-command\.ts)/

const rules: { found: RegExp; why: string; except?: RegExp }[] = [
  {
    found: /import\s*(?:type\s*)?\{[^}]*\b(?:exec|execSync)\b[^}]*\}\s*from\s*'(?:node:)?child_process'/g,
    why: 'exec and execSync hand a text to a shell; take spawn or execFile',
  },
  {
    found: /(?:import\s+(?:\*\s+as\s+)?\w+\s+from\s*|require\(|import\()\s*'(?:node:)?child_process'/g,
    why: 'import from node:child_process by name, so that one sees what is used',
  },
  { found: /\bshell\s*:\s*(?:true\b|["`']\/)/g, why: 'shell: true hands a text to a shell' },
  { found: /'\/bin\/(?:ba|da)?sh'/g, why: 'only the sandbox starts shells', except: mayNameShell },
]

/** One line for each place of a source that a shell could come in by. */
export function shellProblems(file: string, source: string): string[] {
  return rules
    .filter(({ except }) => !except?.test(file))
    .flatMap(({ found, why }) =>
      [...source.matchAll(found)].map(({ index }) => `${file}:${source.slice(0, index).split('\n').length}: ${why}`),
    )
}
