/**
 * Whether a symlink at `path` (relative to a tree) stays inside the tree wherever its steps lead. Only leading `..` are taken, and at most
 * as many as the link lies deep: a `..` after a name could start from wherever that name, itself a link, leads.
 */
export function staysInside(path: string, target: string): boolean {
  if (target === '' || target.startsWith('/') || target.includes('\0')) return false
  const steps = target.split('/').filter((step) => step !== '' && step !== '.')
  const firstName = steps.findIndex((step) => step !== '..')
  const up = firstName < 0 ? steps.length : firstName
  return up < path.split('/').length && !steps.slice(up).includes('..')
}
