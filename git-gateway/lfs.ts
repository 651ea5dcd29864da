import type { ServerResponse } from 'node:http'
import { send } from './refusal.ts'

const lfsAddress = /^\/[A-Za-z0-9._-]{1,100}\.git\/info\/lfs\/(objects\/batch|locks(\/verify)?(\?[^#\s]{0,500})?)$/

/** Whether git's LFS add-on asks, which it does in its pre-push hook, before git itself. */
export function isLfs(rawUrl: string): boolean {
  return lfsAddress.test(rawUrl)
}

/** Answers in the words of https://github.com/git-lfs/git-lfs/tree/main/docs/api; the same for every app and whoever asks. */
export function refuseLfs(response: ServerResponse): void {
  const message =
    'Atelier takes no Git LFS files. Put them into git itself (git lfs untrack "<pattern>", git add --renormalize .), or push the pointers alone: git push --no-verify'
  response.setHeader('connection', 'close')
  send(response, 422, { type: 'application/vnd.git-lfs+json', body: JSON.stringify({ message }) })
}
