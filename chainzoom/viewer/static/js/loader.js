// Which tile is fetched next: visible ones first, coarse before fine, nearest to the middle first. What is no longer visible is dropped,
// here and, because its request ends, on the server. A browser opens six connections to a server: synthetic tiles may hold three of them.

const LANES = { made: 3, real: 2 };
const PATIENCE = 4;
const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export class Loader {
  // judge(tile) -> { visible, distance }; told(count) when the number of awaited synthetic tiles changes; failed(error)
  constructor({ judge, told, failed }) {
    this.judge = judge;
    this.told = told;
    this.failed = failed;
    this.waiting = new Set();
    this.active = { made: new Set(), real: new Set() };
    this.finished = [];
  }

  add(job, url, lane) {
    this.waiting.add({ job, url, lane, tries: 0, since: performance.now(), abort: new AbortController() });
    this.next();
  }

  remove(job) {
    for (const entry of this.all()) if (entry.job === job) this.drop(entry);
  }

  all() {
    return [...this.waiting, ...this.active.made, ...this.active.real];
  }

  // Called when the view has moved.
  tidy() {
    for (const entry of this.all()) {
      if (entry.lane === "made" && !this.judge(entry.job.tile).visible) this.drop(entry);
    }
    this.next();
  }

  clear() {
    for (const entry of this.all()) this.drop(entry);
  }

  drop(entry) {
    if (entry.over) return;
    entry.over = true;
    this.waiting.delete(entry);
    this.active[entry.lane].delete(entry);
    entry.abort.abort();
    entry.job.fail("dropped", null);
    this.tell();
  }

  next() {
    for (const lane of ["real", "made"]) {
      while (this.active[lane].size < LANES[lane]) {
        const [best] = [...this.waiting].filter((entry) => entry.lane === lane && !entry.resting)
          .map((entry) => ({ entry, ...this.judge(entry.job.tile) }))
          .sort((a, b) => b.visible - a.visible || a.entry.job.tile.level - b.entry.job.tile.level || a.distance - b.distance);
        if (!best) break;
        this.waiting.delete(best.entry);
        this.active[lane].add(best.entry);
        this.fetch(best.entry, best.entry.job.tile.level * 1000 + Math.min(999, best.distance * 100));
      }
    }
    this.tell();
  }

  async fetch(entry, order) {
    const url = entry.lane === "made" ? `${entry.url}?order=${order.toFixed(1)}` : entry.url;
    let problem = null;
    try {
      const response = await fetch(url, { signal: entry.abort.signal });
      if (response.ok) {
        const blob = await response.blob();
        this.end(entry);
        if (entry.lane === "made") this.note(entry, response.headers.get("x-chainzoom"));
        entry.job.finish(blob, null, "rasterBlob");
        return;
      }
      problem = { status: response.status, text: (await response.json().catch(() => ({}))).detail ?? response.statusText };
    } catch (error) {
      if (error.name === "AbortError" || entry.over) return;
      problem = { status: 0, text: "The viewer's server does not answer. Is it still running?" };
    }
    if (entry.over) return;
    this.active[entry.lane].delete(entry);
    if (problem.status !== 404 && (problem.status === 429 || entry.tries++ < PATIENCE)) {
      this.waiting.add(entry);
      entry.resting = true;
      this.next();
      await pause(problem.status === 429 ? 600 + 800 * Math.random() : 500 * 2 ** entry.tries);
      entry.resting = false;
      this.next();
      return;
    }
    this.end(entry);
    entry.job.fail("dropped", null);
    this.failed(problem);
  }

  end(entry) {
    entry.over = true;
    this.active[entry.lane].delete(entry);
    queueMicrotask(() => this.next());
  }

  note(entry, cost) {
    this.finished.push({ ms: performance.now() - entry.since, cost });
    if (this.finished.length > 500) this.finished.shift();
  }

  tell() {
    const waiting = this.all().filter((entry) => entry.lane === "made" && this.judge(entry.job.tile).visible).length;
    if (waiting !== this.toldLast) this.told(this.toldLast = waiting);
  }
}
