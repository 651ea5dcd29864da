import { test } from './support/atelier.ts'
import { describePushToLive } from './support/push-to-live.ts'

describePushToLive(test)
