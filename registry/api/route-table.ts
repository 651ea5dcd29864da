import { appRoutesRoute } from './app-routes.ts'
import { createAppRoute, deleteAppRoute, listAppsRoute, showAppRoute } from './apps.ts'
import { listAuditRoute } from './audit.ts'
import { clearBuildCachesRoute } from './build-caches.ts'
import { createConsoleLinkRoute } from './console-links.ts'
import { listDatabasesRoute } from './databases.ts'
import { deployRoute } from './deploy.ts'
import {
  cancelRoute,
  deploymentLogRoute,
  listDeploymentsRoute,
  listEventsRoute,
  showDeploymentRoute,
} from './deployments.ts'
import { diffRoute } from './diff.ts'
import { addDomainRoute, listDomainsRoute, removeDomainRoute } from './domains.ts'
import { listEnvRoute, setEnvRoute, unsetEnvRoute } from './env.ts'
import { lockRoute, unlockRoute } from './locks.ts'
import { appLogRoute } from './logs.ts'
import { listMembersRoute, removeMemberRoute, setMemberRoute } from './members.ts'
import {
  changePasswordRoute,
  createPersonLinkRoute,
  deletePersonRoute,
  endSessionsRoute,
  endTokensRoute,
  invitePersonRoute,
  listPeopleRoute,
  setPersonRoute,
} from './people.ts'
import { approvePreviewRoute, listPreviewsRoute, removePreviewRoute, setPreviewsRoute } from './previews.ts'
import { promoteRoute } from './promote.ts'
import { purgeRoute } from './purge.ts'
import { redeployRoute } from './redeploy.ts'
import { linkRepoRoute, showRepoRoute, unlinkRepoRoute } from './repo.ts'
import { rollbackRoute } from './rollback.ts'
import { showRolloutRoute } from './rollout.ts'
import { abortRoute, pauseRoute, resumeRoute } from './rollout-moves.ts'
import type { Route } from './route.ts'
import { endRunRoute, feedRunRoute, listRunsRoute, startRunRoute } from './runs.ts'
import { statusRoute, whoamiRoute } from './status.ts'
import { createTokenRoute, deleteTokenRoute, deleteTokensRoute, listTokensRoute } from './tokens.ts'
import { webhookDeliveryRoutes } from './webhook-deliveries.ts'
import { webhookRoutes } from './webhooks.ts'

/** Everything the API does. A route that is not here is not served; one without a policy does not compile. */
export const routeTable: Route[] = [
  createAppRoute,
  listAppsRoute,
  showAppRoute,
  deleteAppRoute,
  deployRoute,
  redeployRoute,
  rollbackRoute,
  promoteRoute,
  showRolloutRoute,
  pauseRoute,
  resumeRoute,
  abortRoute,
  lockRoute,
  unlockRoute,
  listDeploymentsRoute,
  showDeploymentRoute,
  listEventsRoute,
  deploymentLogRoute,
  cancelRoute,
  diffRoute,
  appRoutesRoute,
  purgeRoute,
  appLogRoute,
  startRunRoute,
  listRunsRoute,
  feedRunRoute,
  endRunRoute,
  listDatabasesRoute,
  showRepoRoute,
  linkRepoRoute,
  unlinkRepoRoute,
  listPreviewsRoute,
  removePreviewRoute,
  approvePreviewRoute,
  setPreviewsRoute,
  clearBuildCachesRoute,
  listDomainsRoute,
  addDomainRoute,
  removeDomainRoute,
  listEnvRoute,
  setEnvRoute,
  unsetEnvRoute,
  listMembersRoute,
  setMemberRoute,
  removeMemberRoute,
  listPeopleRoute,
  invitePersonRoute,
  createPersonLinkRoute,
  setPersonRoute,
  deletePersonRoute,
  endSessionsRoute,
  endTokensRoute,
  changePasswordRoute,
  listAuditRoute,
  listTokensRoute,
  createTokenRoute,
  deleteTokenRoute,
  deleteTokensRoute,
  createConsoleLinkRoute,
  statusRoute,
  whoamiRoute,
  ...webhookRoutes,
  ...webhookDeliveryRoutes,
]
