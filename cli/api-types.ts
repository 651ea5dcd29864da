// Made from the OpenAPI document by `npm run api-types`; not to be changed by hand.

export type Error = {
  error: {
    code: ErrorCode
    message: string
  }
}

export type ErrorCode = 'APP_NAME_ILLEGAL' | 'APP_NOT_FOUND' | 'NAME_TAKEN' | 'VERSION_ILLEGAL' | 'VERSION_NOT_FOUND' | 'VERSION_PRUNED' | 'DEPLOYMENT_NOT_FOUND' | 'DEPLOYMENT_STATE' | 'NO_ROLLOUT' | 'ROLLOUT_OTHER' | 'ALREADY_BACK' | 'APP_LOCKED' | 'APP_HELD' | 'DOMAIN_ILLEGAL' | 'DOMAIN_NOT_FOUND' | 'BRANCH_ILLEGAL' | 'ENV_NAME_ILLEGAL' | 'ENV_TOO_LARGE' | 'UNAUTHENTICATED' | 'FORBIDDEN' | 'PERSON_NAME_ILLEGAL' | 'PERSON_NOT_FOUND' | 'MEMBER_NOT_FOUND' | 'LAST_OWNER' | 'LAST_ADMIN' | 'PASSWORD_WEAK' | 'PASSWORD_WRONG' | 'SIGN_IN_LIMIT' | 'TOKEN_NOT_FOUND' | 'ROUTE_NOT_FOUND' | 'HOST_UNKNOWN' | 'ORIGIN_FOREIGN' | 'REQUEST_INVALID' | 'REPEAT_OTHER' | 'REPEAT_BUSY' | 'RATE_LIMITED' | 'REQUEST_TOO_LARGE' | 'WEBHOOK_NOT_FOUND' | 'WEBHOOK_TOO_MANY' | 'WEBHOOK_DISABLED' | 'DELIVERY_NOT_FOUND' | 'OUTBOUND_REFUSED' | 'OUTBOUND_FAILED' | 'HOOK_NOT_FOUND' | 'HOOK_REFUSED' | 'REPO_NOT_LINKED' | 'PREVIEW_NOT_FOUND' | 'FORK_UNTRUSTED' | 'SERVER_BUSY' | 'FETCH_FAILED' | 'SOURCE_INVALID' | 'CONFIG_INVALID' | 'FRAMEWORK_UNKNOWN' | 'ENTRY_NOT_FOUND' | 'INSTALL_FAILED' | 'BUILD_FAILED' | 'BUILD_LIMIT' | 'BUILD_CANCELLED' | 'OUTPUT_INVALID' | 'APP_CRASHED' | 'APP_NOT_LISTENING' | 'APP_UNHEALTHY' | 'ROUTE_UNHEALTHY' | 'ROLLED_BACK' | 'MIGRATION_FAILED' | 'RELEASE_FAILED' | 'PROVISION_FAILED' | 'PRERENDER_FAILED' | 'RUN_IMPOSSIBLE' | 'RUN_NOT_FOUND' | 'RUN_ENDED' | 'RUNS_TOO_MANY' | 'HOOK_FAILED' | 'CONFIG_ENV' | 'STORE_CORRUPT' | 'STORE_UNAVAILABLE' | 'DATABASE_UNAVAILABLE' | 'NO_EDGE' | 'RUN_LOST' | 'SANDBOX_FAILED' | 'ISOLATION_WEAK' | 'HOME_UNUSABLE' | 'HOME_IN_USE' | 'PORT_IN_USE' | 'INTERNAL'

export type App = {
  id: string
  url: string
  git_url: string
  production_branch: string | null
  created_at: string
  created_by: string
}

export type ProgressEvent = {
  type: 'start'
  deployment: Deployment
} | {
  type: 'log'
  seq: number
  at: string
  text: string
} | EndEvent

export type Deployment = {
  id: string
  app_id: string
  number: number
  version: string
  environment: 'production' | 'preview'
  branch: string
  url: string
  source: 'git' | 'upload' | 'redeploy'
  subject: string | null
  state: string
  state_reason: string | null
  state_since: string
  error_code: string | null
  created_at: string
  created_by: string
  live_at: string | null
  host?: {
    state: 'starting' | 'awake' | 'asleep' | 'crashed'
    since: string
    isolates: number
    edges: number
    awake_on: number
  } | null | undefined
}

export type EndEvent = {
  type: 'end'
  deployment: Deployment | null
  ok: boolean
  error?: {
    code: ErrorCode
    message: string
  } | undefined
  moved_since?: MovedSince | undefined
}

export type MovedSince = {
  env: (string)[]
  migrations: (string)[]
}

export type GitSource = {
  git: string
  ref?: string | undefined
  token?: string | undefined
}

export type ServerFolder = {
  path: string
}

export type Rollout = {
  id: string
  app_id: string
  state: 'observing' | 'held' | 'paused' | 'reverting' | 'done' | 'aborted'
  sentence: string | null
  confidence: string | null
  from: Deployment
  to: Deployment
  percent: number
  stages: (number)[]
  window_sec: number
  min_requests: number
  stage_left_sec: number | null
  left_sec: number | null
  candidate: RolloutArm
  baseline: RolloutArm
  evidence: {
    errors: RolloutEvidence
    latency: RolloutEvidence
  }
  remarks: (string)[]
  by: string
  started_at: string
  ended_at: string | null
  history: ({
    at: string
    kind: string
    by: string
    sentence: string
  })[]
  why: {
    failing_paths: ({
      path: string
      status: number
      count: number
    })[]
    stack_traces: (string)[]
    commits: ({
      sha: string
      subject: string
    })[]
    next: string
  } | null
} | null

export type RolloutArm = {
  requests: number
  errors: number
  error_rate: number | null
  refused: number
  p50_ms: number | null
  p95_ms: number | null
}

export type RolloutEvidence = {
  evidence: string
  bar: string
  ln_evidence: number
  ln_bar: number
  is_material: boolean
} | null

export type RolloutEvent = {
  rollout: Rollout
  type: 'rollout'
}

export type Lock = {
  kind: 'lock' | 'hold'
  message: string
  by: string
  at: string
}

export type DeploymentEvent = {
  at: string
  from: string | null
  to: string | null
  rollout: string | null
  by: string
  reason: string | null
  duration_ms: number | null
}

export type Differences = {
  from: {
    version: string
    number: number
    environment: string
    state: string
  }
  to: {
    version: string
    number: number
    environment: string
    state: string
  }
  files: {
    added: ({
      path: string
      from: number | null
      to: number | null
    })[]
    removed: ({
      path: string
      from: number | null
      to: number | null
    })[]
    changed: ({
      path: string
      from: number | null
      to: number | null
    })[]
    total: number
  }
  server_code: {
    from: number | null
    to: number | null
    changed: boolean
  } | null
  routes: {
    added: (string)[]
    removed: (string)[]
  }
  env: {
    added: (string)[]
    removed: (string)[]
    changed: (string)[]
  }
  dependencies: {
    added: ({
      name: string
      from: string | null
      to: string | null
    })[]
    removed: ({
      name: string
      from: string | null
      to: string | null
    })[]
    changed: ({
      name: string
      from: string | null
      to: string | null
    })[]
    lockfile_changed: boolean
  }
  commits: ({
    sha: string
    subject: string
  })[]
}

export type Routes = {
  framework: string
  read_from: 'build' | 'source' | 'app' | 'nothing'
  routes: ({
    path: string
    kind: 'page' | 'api' | 'file'
    methods: ('GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE' | 'OPTIONS')[] | null
    source: string | null
    rendering: 'static' | 'revalidated' | 'partial' | 'dynamic' | null
    revalidate_sec: number | null
    marks: ('static-params' | 'metadata' | 'generated-metadata' | 'use-cache' | 'ppr')[]
    title: string | null
  })[]
  static: ({
    path: string
    route: string
  })[]
  notes: (string)[]
  version: string
  number: number
  environment: string
}

export type AppLogEvent = {
  type: 'log'
  id: number
  at: string
  deployment: string
  version: string
  stream: 'stdout' | 'stderr' | 'platform'
  text: string
}

export type RunEvent = {
  type: 'run'
  run: Run
} | {
  type: 'waiting' | 'running'
} | {
  type: 'output'
  stream: 'stdout' | 'stderr'
  data: string
} | {
  type: 'end'
  exit_code?: number | null | undefined
  signal?: string | null | undefined
  cause?: string | null | undefined
  error?: {
    code: ErrorCode
    message: string
  } | undefined
}

export type Run = {
  id: string
  deployment: string
  version: string
  command: string
  by: string
  state: 'waiting' | 'running' | 'ended'
  exit_code: number | null
  signal: string | null
  cause: string | null
  reason: string | null
  created_at: string
  started_at: string | null
  ended_at: string | null
}

export type Database = {
  name: string
  environment: 'production' | 'preview'
  branch: string
  created_at: string
  bytes: number | null
  max_bytes: number
  connections: number | null
  max_connections: number
}

export type RepoLink = {
  app_id: string
  host: 'github' | 'gitea'
  url: string
  repository: string
  api_url: string
  hook_url: string | null
  has_token: boolean
  forks: 'off' | 'approve'
  created_at: string
  created_by: string
  asked_at: string | null
  problem: string | null
}

export type NewRepoLink = RepoLink & {
  secret?: string | undefined
}

export type Preview = {
  branch: string
  url: string
  version: string | null
  deployment: string | null
  state: string | null
  state_reason: string | null
  created_at: string
  deployed_at: string
  ends_at: string
}

export type PullRequest = {
  number: number
  head: string
  is_fork: boolean
  approved: string | null
  note: string | null
  problem: string | null
}

export type PreviewSettings = {
  ttl_hours: number
  most: number
  has_password: boolean
}

export type Domain = {
  host: string
  name: string
  created_at: string
  created_by: string
}

export type Variable = {
  name: string
  branch: string | null
  runtime_only: boolean
  value: string | null
  updated_at: string
  updated_by: string
}

export type StaleVersion = {
  deployment: string
  version: string
  environment: 'production' | 'preview'
  branch: string
  names: (string)[]
}

export type Member = {
  person: string
  role: 'owner' | 'deployer' | 'viewer'
  since: string
  added_by: string
}

export type Person = {
  name: string
  platform_role: 'admin' | 'member' | 'guest'
  roles: Record<string, 'owner' | 'deployer' | 'viewer'>
  has_password: boolean
  created_at: string
  created_by: string
}

export type PersonLink = {
  url: string
  expires_at: string
}

export type AuditEntry = {
  id: number
  at: string
  who: string
  via: 'api' | 'cli' | 'console' | 'git' | 'webhook' | 'server'
  from: string | null
  token_id: string | null
  what: string
  action: string
  app_id: string | null
  target: string | null
  detail: Record<string, Record<string, unknown>>
  outcome: string | null
}

export type Token = {
  id: string
  name: string
  scope: 'admin' | 'deploy' | 'read'
  app_id: string | null
  person: string | null
  created_at: string
  expires_at: string | null
  last_used_at: string | null
}

export type NewToken = Token & {
  secret: string
}

export type AppState = {
  app_id: string
  environment: 'production' | 'preview'
  branch: string
  url: string
  live: Deployment | null
  latest: Deployment | null
  rollout: Rollout & Record<string, unknown>
  locks: (Lock)[]
}

export type Webhook = {
  id: string
  app_id: string | null
  name: string
  address: string
  format: 'json' | 'slack'
  events: (string)[]
  environment: 'production' | 'preview' | null
  former_secret_until: string | null
  disabled_at: string | null
  disabled_reason: string | null
  created_at: string
  created_by: string
}

export type NewWebhook = Webhook & {
  secret: string
}

export type Delivery = {
  id: number
  state: 'waiting' | 'sending' | 'delivered' | 'failed'
  event: {
    id: string
    type: string
    at: string
  }
  due_at: string | null
  ended_at: string | null
  attempts: ({
    at: string
    duration_ms: number
    status: number | null
    reason: string | null
  })[]
}

export type Api = {
  'POST apps': {
    json: {
      name: string
    }
    answer: App
  }
  'GET apps': {
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      apps: (App)[]
      next: string | null
    }
  }
  'GET apps/{app}': {
    params: {
      app: string
    }
    answer: App
  }
  'DELETE apps/{app}': {
    params: {
      app: string
    }
    answer: null
  }
  'POST deploy': {
    query?: {
      app?: string | undefined
      version?: string | undefined
      branch?: string | undefined
      follow?: boolean | undefined
      force?: boolean | undefined
      unlock?: boolean | undefined
      until?: 'traffic' | 'verdict' | undefined
      canary?: 'skip' | undefined
    }
    json?: {
      app_id: string
      source: GitSource | ServerFolder
      version?: string | undefined
      branch?: string | undefined
      follow?: boolean | undefined
      force?: boolean | undefined
      unlock?: boolean | undefined
      until?: 'traffic' | 'verdict' | undefined
      canary?: 'skip' | undefined
    }
    upload?: 'application/gzip'
    answer: Deployment
    events: ProgressEvent
  }
  'POST redeploy': {
    json: {
      app_id: string
      version?: string | null | undefined
      branch?: string | null | undefined
      build?: boolean | undefined
      force?: boolean | undefined
      follow?: boolean | undefined
      until?: 'traffic' | 'verdict' | undefined
      canary?: 'skip' | undefined
    }
    answer: Deployment
    events: ProgressEvent
  }
  'POST rollback': {
    json: {
      app_id: string
      version?: string | null | undefined
    }
    answer: {
      live: Deployment
      previous: Deployment
      on_its_way: Deployment | null
      moved_since: MovedSince
    }
  }
  'POST promote': {
    json: {
      app_id: string
      to: number | string
      of?: string | null | undefined
      reason?: string | null | undefined
    }
    events: ProgressEvent
  }
  'GET apps/{app}/rollout': {
    params: {
      app: string
    }
    query?: {
      follow?: boolean | undefined
    }
    answer: {
      rollout: Rollout
    }
    events: RolloutEvent | EndEvent
  }
  'POST pause': {
    json: {
      app_id: string
      of?: string | null | undefined
      reason?: string | null | undefined
    }
    answer: {
      deployment: Deployment
      state: string
      percent: number
    }
  }
  'POST resume': {
    json: {
      app_id: string
      of?: string | null | undefined
      reason?: string | null | undefined
    }
    answer: {
      deployment: Deployment
      state: string
      percent: number
    }
  }
  'POST abort': {
    json: {
      app_id: string
      of?: string | null | undefined
      reason?: string | null | undefined
    }
    answer: {
      deployment: Deployment
      state: string
      percent: number
      missing: number
    }
  }
  'POST lock': {
    json: {
      app_id: string
      message: string
    }
    answer: Lock
  }
  'POST unlock': {
    json: {
      app_id: string
    }
    answer: {
      lifted: (Lock)[]
    }
  }
  'GET deploys': {
    query?: {
      app?: string | undefined
      version?: string | undefined
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      deployments: (Deployment)[]
      next: string | null
    }
  }
  'GET deployments/{id}': {
    params: {
      id: string
    }
    answer: Deployment
  }
  'GET deployments/{id}/events': {
    params: {
      id: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      events: (DeploymentEvent)[]
      next: string | null
    }
  }
  'GET deployments/{id}/logs': {
    params: {
      id: string
    }
    query?: {
      after?: number | undefined
      follow?: boolean | undefined
      until?: 'traffic' | 'verdict' | undefined
    }
    events: ProgressEvent
  }
  'POST deployments/{id}/cancel': {
    params: {
      id: string
    }
    answer: Deployment
  }
  'GET apps/{app}/diff': {
    params: {
      app: string
    }
    query: {
      from: string
      to: string
    }
    answer: Differences
  }
  'GET apps/{app}/routes': {
    params: {
      app: string
    }
    query?: {
      version?: string | undefined
    }
    answer: Routes
  }
  'POST apps/{app}/purge': {
    params: {
      app: string
    }
    json: {
      tags?: (string)[] | undefined
      paths?: (string)[] | undefined
      all?: boolean | undefined
    }
    answer: {
      id: string
      app_id: string
      tags: (string)[]
      paths: (string)[]
      all: boolean
      by: string
      at: string
      edges: number
      missing: number
    }
  }
  'GET apps/{app}/logs': {
    params: {
      app: string
    }
    query?: {
      tail?: number | undefined
      follow?: boolean | undefined
    }
    events: AppLogEvent | EndEvent
  }
  'POST apps/{app}/runs': {
    params: {
      app: string
    }
    json: {
      command: (string)[]
      branch?: string | null | undefined
      input?: boolean | undefined
      timeout_sec?: number | undefined
    }
    events: RunEvent
  }
  'GET apps/{app}/runs': {
    params: {
      app: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      runs: (Run)[]
      next: string | null
    }
  }
  'POST apps/{app}/runs/{run}/input': {
    params: {
      app: string
      run: string
    }
    json: {
      seq: number
      data: string
      end?: boolean | undefined
    }
    answer: {
      taken: boolean
    }
  }
  'POST apps/{app}/runs/{run}/end': {
    params: {
      app: string
      run: string
    }
    json: {
      at_once?: boolean | undefined
    }
    answer: Run
  }
  'GET apps/{app}/databases': {
    params: {
      app: string
    }
    query?: {
      facts?: boolean | undefined
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      databases: (Database)[]
      next: string | null
    }
  }
  'GET apps/{app}/repo': {
    params: {
      app: string
    }
    answer: RepoLink
  }
  'PUT apps/{app}/repo': {
    params: {
      app: string
    }
    json: {
      host: 'github' | 'gitea'
      url: string
      api_url?: string | null | undefined
      secret?: string | null | undefined
      token?: string | null | undefined
      forks?: 'off' | 'approve' | undefined
    }
    answer: NewRepoLink
  }
  'DELETE apps/{app}/repo': {
    params: {
      app: string
    }
    answer: null
  }
  'GET apps/{app}/previews': {
    params: {
      app: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      previews: (Preview)[]
      pull_requests: (PullRequest)[]
      settings: PreviewSettings
      next: string | null
    }
  }
  'DELETE apps/{app}/previews': {
    params: {
      app: string
    }
    query: {
      branch: string
    }
    answer: null
  }
  'POST apps/{app}/previews/approve': {
    params: {
      app: string
    }
    json: {
      number: number
      sha: string
    }
    answer: PullRequest
  }
  'PUT apps/{app}/previews/settings': {
    params: {
      app: string
    }
    json: {
      ttl_hours?: number | undefined
      most?: number | undefined
      password?: string | null | undefined
    }
    answer: PreviewSettings
  }
  'DELETE apps/{app}/build-caches': {
    params: {
      app: string
    }
    answer: null
  }
  'GET apps/{app}/domains': {
    params: {
      app: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      domains: (Domain)[]
      next: string | null
    }
  }
  'POST apps/{app}/domains': {
    params: {
      app: string
    }
    json: {
      host: string
    }
    answer: Domain
  }
  'DELETE apps/{app}/domains/{host}': {
    params: {
      app: string
      host: string
    }
    answer: null
  }
  'GET apps/{app}/env': {
    params: {
      app: string
    }
    query?: {
      environment?: 'production' | 'preview' | undefined
      branch?: string | undefined
    }
    answer: {
      variables: (Variable)[]
      stale: (StaleVersion)[]
      branches: (string)[]
    }
  }
  'PUT apps/{app}/env': {
    params: {
      app: string
    }
    json: {
      environment?: 'production' | 'preview' | undefined
      branch?: string | undefined
      values: Record<string, string>
      runtime_only?: boolean | undefined
      readable?: boolean | undefined
    }
    answer: {
      variables: (Variable)[]
      stale: (StaleVersion)[]
      changed: (string)[]
    }
  }
  'DELETE apps/{app}/env': {
    params: {
      app: string
    }
    query: {
      environment?: 'production' | 'preview' | undefined
      branch?: string | undefined
      names: string
    }
    answer: {
      removed: (string)[]
      stale: (StaleVersion)[]
    }
  }
  'GET apps/{app}/members': {
    params: {
      app: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      members: (Member)[]
      next: string | null
    }
  }
  'PUT apps/{app}/members/{person}': {
    params: {
      app: string
      person: string
    }
    json: {
      role: 'owner' | 'deployer' | 'viewer'
    }
    answer: Member
  }
  'DELETE apps/{app}/members/{person}': {
    params: {
      app: string
      person: string
    }
    answer: null
  }
  'GET people': {
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      people: (Person)[]
      next: string | null
    }
  }
  'POST people': {
    json: {
      name: string
      platform_role?: 'admin' | 'member' | 'guest' | undefined
      roles?: Record<string, 'owner' | 'deployer' | 'viewer'> | undefined
    }
    answer: {
      person: Person
      link: PersonLink
    }
  }
  'POST people/{person}/links': {
    params: {
      person: string
    }
    answer: PersonLink
  }
  'PUT people/{person}': {
    params: {
      person: string
    }
    json: {
      platform_role: 'admin' | 'member' | 'guest'
    }
    answer: null
  }
  'DELETE people/{person}': {
    params: {
      person: string
    }
    query?: {
      ownerless?: boolean | undefined
    }
    answer: null
  }
  'DELETE people/{person}/sessions': {
    params: {
      person: string
    }
    answer: {
      ended: number
    }
  }
  'DELETE people/{person}/tokens': {
    params: {
      person: string
    }
    answer: {
      ended: number
    }
  }
  'POST password': {
    json: {
      current: string
      password: string
    }
    answer: null
  }
  'GET audit': {
    query?: {
      app?: string | undefined
      who?: string | undefined
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      entries: (AuditEntry)[]
      next: string | null
    }
  }
  'GET tokens': {
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      tokens: (Token)[]
      next: string | null
    }
  }
  'POST tokens': {
    json: {
      name: string
      scope?: 'admin' | 'deploy' | 'read' | undefined
      app_id?: string | null | undefined
      expires_in_days?: number | null | undefined
      alone?: boolean | undefined
    }
    answer: NewToken
  }
  'DELETE tokens': {
    answer: {
      ended: number
    }
  }
  'DELETE tokens/{id}': {
    params: {
      id: string
    }
    answer: null
  }
  'POST console-links': {
    answer: {
      url: string
      expires_at: string
    }
  }
  'GET status': {
    query?: {
      app?: string | undefined
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      platform: {
        isolation: {
          setting: 'require' | 'warn'
          mode: 'none' | 'users' | 'strong' | 'full' | null
          summary: string | null
          advice: (string)[]
        }
        edges: number
        queued: number
        running: number
      }
      apps: (AppState)[]
      next: string | null
    }
  }
  'GET whoami': {
    answer: {
      name: string
      scope: string
      app_id: string | null
      person: {
        name: string
        platform_role: 'admin' | 'member' | 'guest'
        roles: Record<string, 'owner' | 'deployer' | 'viewer'>
      } | null
      token: {
        id: string
        name: string
        expires_at: string | null
      } | null
    }
  }
  'GET apps/{app}/webhooks': {
    params: {
      app: string
    }
    answer: {
      webhooks: (Webhook)[]
    }
  }
  'POST apps/{app}/webhooks': {
    params: {
      app: string
    }
    json: {
      url: string
      name?: string | undefined
      format?: 'json' | 'slack' | undefined
      events?: (string)[] | undefined
      environment?: 'production' | 'preview' | null | undefined
    }
    answer: NewWebhook
  }
  'GET webhooks': {
    answer: {
      webhooks: (Webhook)[]
    }
  }
  'POST webhooks': {
    json: {
      url: string
      name?: string | undefined
      format?: 'json' | 'slack' | undefined
      events?: (string)[] | undefined
      environment?: 'production' | 'preview' | null | undefined
    }
    answer: NewWebhook
  }
  'GET apps/{app}/webhooks/{webhook}': {
    params: {
      app: string
      webhook: string
    }
    answer: Webhook
  }
  'DELETE apps/{app}/webhooks/{webhook}': {
    params: {
      app: string
      webhook: string
    }
    answer: null
  }
  'GET webhooks/{webhook}': {
    params: {
      webhook: string
    }
    answer: Webhook
  }
  'DELETE webhooks/{webhook}': {
    params: {
      webhook: string
    }
    answer: null
  }
  'POST apps/{app}/webhooks/{webhook}/rotate': {
    params: {
      app: string
      webhook: string
    }
    answer: NewWebhook
  }
  'POST webhooks/{webhook}/rotate': {
    params: {
      webhook: string
    }
    answer: NewWebhook
  }
  'POST apps/{app}/webhooks/{webhook}/enable': {
    params: {
      app: string
      webhook: string
    }
    answer: Webhook
  }
  'POST webhooks/{webhook}/enable': {
    params: {
      webhook: string
    }
    answer: Webhook
  }
  'GET apps/{app}/webhooks/{webhook}/deliveries': {
    params: {
      app: string
      webhook: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      deliveries: (Delivery)[]
      next: string | null
    }
  }
  'GET webhooks/{webhook}/deliveries': {
    params: {
      webhook: string
    }
    query?: {
      limit?: number | undefined
      cursor?: string | undefined
    }
    answer: {
      deliveries: (Delivery)[]
      next: string | null
    }
  }
  'GET apps/{app}/webhooks/{webhook}/deliveries/{delivery}': {
    params: {
      app: string
      webhook: string
      delivery: number
    }
    answer: Delivery & {
      body: string
    }
  }
  'GET webhooks/{webhook}/deliveries/{delivery}': {
    params: {
      webhook: string
      delivery: number
    }
    answer: Delivery & {
      body: string
    }
  }
  'POST apps/{app}/webhooks/{webhook}/deliveries/{delivery}/redeliver': {
    params: {
      app: string
      webhook: string
      delivery: number
    }
    answer: Delivery
  }
  'POST webhooks/{webhook}/deliveries/{delivery}/redeliver': {
    params: {
      webhook: string
      delivery: number
    }
    answer: Delivery
  }
  'POST apps/{app}/webhooks/{webhook}/test': {
    params: {
      app: string
      webhook: string
    }
    answer: Delivery
  }
  'POST webhooks/{webhook}/test': {
    params: {
      webhook: string
    }
    answer: Delivery
  }
}
