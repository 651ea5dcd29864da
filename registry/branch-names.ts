import { AppError } from './errors.ts'

/** The rule for names of branches and tags from outside (refs/heads/…): nothing that git or a shell could take for something else. */
export function isBranchName(name: string): boolean {
  if (!/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/.test(name)) return false
  return !/(^|\/)[-.]|\.\.|\/\/|\/$|\.(lock)?(\/|$)/.test(name)
}

/** Throws BRANCH_ILLEGAL. */
export function refuseIllegalBranch(name: string): void {
  if (isBranchName(name)) return
  throw new AppError(
    'BRANCH_ILLEGAL',
    `${JSON.stringify(name.slice(0, 60))} is no branch, tag or commit: names hold letters, digits and . _ - /, and begin with a letter or digit`,
  )
}
