// Webhooks in the shape that Gitea (modules/structs/hook.go) and Forgejo send them, with what the documentation shows of each object.

type PullRequest = {
  action: 'opened' | 'synchronized' | 'closed' | 'reopened'
  number: number
  sha: string
  repository: string
  /** `owner/name` of the fork it comes from. */
  from?: string
  /** What the host calls its branch. */
  ref?: string
  at?: Date
}

export function giteaPullRequest({
  action,
  number,
  sha,
  repository,
  from = repository,
  ref = 'better',
  at = new Date(),
}: PullRequest) {
  const isOpen = action !== 'closed'
  return {
    action,
    number,
    pull_request: {
      id: 62_000 + number,
      url: `https://git.example/${repository}/pulls/${number}`,
      number,
      user: userOf(from),
      title: 'Say it better',
      body: '',
      labels: [],
      milestone: null,
      assignee: null,
      assignees: null,
      requested_reviewers: null,
      state: isOpen ? 'open' : 'closed',
      is_locked: false,
      comments: 0,
      html_url: `https://git.example/${repository}/pulls/${number}`,
      diff_url: `https://git.example/${repository}/pulls/${number}.diff`,
      patch_url: `https://git.example/${repository}/pulls/${number}.patch`,
      mergeable: true,
      merged: false,
      merged_at: null,
      merge_commit_sha: null,
      merged_by: null,
      allow_maintainer_edit: false,
      base: { label: 'main', ref: 'main', sha: '0'.repeat(39).concat('1'), ...repositoryOf(repository, repository) },
      head: { label: 'better', ref, sha, ...repositoryOf(from, repository) },
      merge_base: '0'.repeat(39).concat('1'),
      due_date: null,
      created_at: at.toISOString(),
      updated_at: at.toISOString(),
      closed_at: isOpen ? null : at.toISOString(),
    },
    requested_reviewer: null,
    repository: repositoryOf(repository, repository).repo,
    sender: userOf(from),
    commit_id: '',
    review: null,
  }
}

export function giteaPush({ branch, sha, repository }: { branch: string; sha: string; repository: string }) {
  const commit = {
    id: sha,
    message: 'Say it better\n',
    url: `https://git.example/${repository}/commit/${sha}`,
    author: { name: 'Ada', email: 'ada@example.com', username: 'ada' },
    committer: { name: 'Ada', email: 'ada@example.com', username: 'ada' },
    verification: null,
    timestamp: new Date().toISOString(),
    added: [],
    removed: [],
    modified: ['index.html'],
  }
  return {
    ref: `refs/heads/${branch}`,
    before: '0'.repeat(40),
    after: sha,
    compare_url: '',
    commits: [commit],
    total_commits: 1,
    head_commit: commit,
    repository: repositoryOf(repository, repository).repo,
    pusher: userOf(repository),
    sender: userOf(repository),
  }
}

function repositoryOf(fullName: string, base: string) {
  const [, name = ''] = fullName.split('/')
  const id = fullName === base ? 46_534 : 46_535
  return {
    repo_id: id,
    repo: {
      id,
      owner: userOf(fullName),
      name,
      full_name: fullName,
      description: '',
      empty: false,
      private: false,
      fork: fullName !== base,
      template: false,
      parent: null,
      mirror: false,
      size: 26,
      html_url: `https://git.example/${fullName}`,
      ssh_url: `git@git.example:${fullName}.git`,
      clone_url: `https://git.example/${fullName}.git`,
      default_branch: 'main',
      archived: false,
      permissions: { admin: false, push: false, pull: true },
    },
  }
}

function userOf(fullName: string) {
  const [login = ''] = fullName.split('/')
  return { id: 26_907, login, full_name: '', email: `${login}@example.com`, username: login }
}
