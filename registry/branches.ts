import { createHash } from 'node:crypto'

export type Environment = 'production' | 'preview'
/** Where a branch's deployments go. `label` is the host label: `hello`, `hello-pr-42`, `hello-git-fix-login`. */
export type Target = { environment: Environment; branch: string; label: string }

const maxLabel = 63

/**
 * The target of a branch: the production branch, `pr/<n>` as preview of that pull request, any other branch as preview by its name.
 * Before a production branch is settled, `main` and `master` both mean production.
 */
export function targetOfBranch(app: { id: string; productionBranch: string | null }, branch: string): Target {
  const isProduction = app.productionBranch ? branch === app.productionBranch : branch === 'main' || branch === 'master'
  if (isProduction) return { environment: 'production', branch, label: app.id }

  const pullRequest = /^pr\/([1-9]\d{0,8})$/.exec(branch)
  if (pullRequest) return { environment: 'preview', branch, label: `${app.id}-pr-${pullRequest[1]}` }
  return { environment: 'preview', branch, label: branchLabel(app.id, branch) }
}

// Two branches may give one slug (a/b and a-b), and a slug may be too long for a host label: both carry a hash of the true name.
function branchLabel(app: string, branch: string): string {
  const slug = branch
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '')
  const label = `${app}-git-${slug}`
  if (slug === branch && label.length <= maxLabel) return label

  const hash = createHash('sha256').update(branch).digest('hex').slice(0, 6)
  return `${label.slice(0, maxLabel - 7).replace(/-+$/, '')}-${hash}`
}
