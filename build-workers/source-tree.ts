/** What detection may ask of an app's files. Paths are relative to the app, `/`-separated, without a leading `./`. */
export interface SourceTree {
  hasFile(path: string): boolean
  hasDirectory(path: string): boolean
  /** The text of a file of at most 64 MB (lockfiles are long), else null. */
  read(path: string): string | null
  readBytes(path: string): Buffer | null
  /** The bytes of a file of at most so many, else null. */
  readShort(path: string, most: number): Buffer | null
  paths(): Iterable<string>
  /** Symlinks, which are no files here. */
  links(): [path: string, target: string][]
}

/** A tree held in memory. */
export function treeOf(files: Record<string, string>): SourceTree {
  const paths = Object.keys(files)
  return {
    hasFile: (path) => Object.hasOwn(files, path),
    hasDirectory: (path) => paths.some((known) => known.startsWith(`${path}/`)),
    read: (path) => (Object.hasOwn(files, path) ? (files[path] ?? null) : null),
    readBytes: (path) => (Object.hasOwn(files, path) ? Buffer.from(files[path] ?? '') : null),
    readShort: (path, most) => {
      const bytes = Object.hasOwn(files, path) ? Buffer.from(files[path] ?? '') : null
      return bytes && bytes.length <= most ? bytes : null
    },
    paths: () => paths,
    links: () => [],
  }
}

/** The part of a tree below a directory (`''`: the whole). */
export function subtree(tree: SourceTree, directory: string): SourceTree {
  if (directory === '') return tree
  const prefix = `${directory}/`
  return {
    hasFile: (path) => tree.hasFile(prefix + path),
    hasDirectory: (path) => tree.hasDirectory(prefix + path),
    read: (path) => tree.read(prefix + path),
    readBytes: (path) => tree.readBytes(prefix + path),
    readShort: (path, most) => tree.readShort(prefix + path, most),
    paths: function* () {
      for (const path of tree.paths()) if (path.startsWith(prefix)) yield path.slice(prefix.length)
    },
    links: () =>
      tree.links().flatMap(([path, target]) => (path.startsWith(prefix) ? [[path.slice(prefix.length), target]] : [])),
  }
}

/** The first of the paths that is a file, or null. */
export function firstFile(tree: SourceTree, paths: string[]): string | null {
  return paths.find((path) => tree.hasFile(path)) ?? null
}
