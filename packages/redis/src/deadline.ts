// A time limit for what is under way.

/** Rejects for what takes longer than `timeoutMs`, which may still take effect: that is what `store_unavailable` says. */
export function createDeadline(timeoutMs: number, onTimeout: () => void) {
  // In the order of their deadlines, for all may take the same time: one timer serves them.
  const waiting = new Set<{ readonly deadline: number; readonly giveUp: (reason: string) => void }>();
  let timer: NodeJS.Timeout | undefined;

  function watch(): void {
    timer = undefined;
    const now = performance.now();
    let isLate = false;
    for (const wait of waiting) {
      if (wait.deadline > now) {
        timer = setTimeout(watch, wait.deadline - now).unref();
        break;
      }
      isLate = true;
      waiting.delete(wait);
      wait.giveUp(`no reply within ${timeoutMs} ms`);
    }
    if (isLate) onTimeout();
  }

  const within = <T>(work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      const wait = {
        deadline: performance.now() + timeoutMs,
        giveUp: (reason: string) => reject(new Error(reason)),
      };
      waiting.add(wait);
      // It stays for those that follow, and keeps no process alive: the client's sockets and timers do that.
      if (timer === undefined) timer = setTimeout(watch, timeoutMs).unref();
      work.then(
        (value) => {
          waiting.delete(wait);
          resolve(value);
        },
        (error) => {
          waiting.delete(wait);
          reject(error);
        },
      );
    });

  function giveUpAll(): void {
    for (const { giveUp } of waiting) giveUp("the connection has ended");
    waiting.clear();
  }

  return { within, giveUpAll };
}
