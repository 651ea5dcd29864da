import { AppError, toAppError } from '../../registry/errors.ts'
import { Mask } from '../../registry/mask.ts'
import { MaskedStream } from '../../registry/masked-stream.ts'
import { type Isolate, type IsolateExit, type IsolateSpec, startIsolate } from '../../sandbox/isolate/isolate.ts'

/**
 * Starts an isolate that says none of its variables' values: not in the lines it writes, and not in the reasons why it ended or does not listen, which quote
 * them. Whatever keeps or shows an app's words on its machine has them from here. Throws as `startIsolate` does.
 */
export async function startMasked(spec: IsolateSpec): Promise<Isolate> {
  const mask = new Mask(spec.env)
  const lines = {
    stdout: new MaskedStream(mask, (line) => spec.onLog('stdout', line)),
    stderr: new MaskedStream(mask, (line) => spec.onLog('stderr', line)),
  }
  const isolate = await startIsolate({ ...spec, onLog: (stream, line) => lines[stream].push(line) })
  const masked = (thrown: unknown) => maskedError(toAppError(thrown), mask)
  const exited = isolate.exited.then((exit): IsolateExit => {
    // Before anybody says that it has ended.
    for (const stream of Object.values(lines)) stream.end()
    return { ...exit, error: masked(exit.error) }
  })
  return {
    ...isolate,
    exited,
    ready: (timeoutMs) =>
      isolate.ready(timeoutMs).catch((thrown: unknown) => {
        throw masked(thrown)
      }),
    stop: async (graceMs) => {
      await isolate.stop(graceMs)
      return exited
    },
  }
}

// Without its cause: that is the same in the app's own words.
function maskedError({ code, message }: AppError, mask: Mask): AppError {
  return new AppError(code, mask.text(message).join('\n'))
}
