// @ts-check
/* A run: the steps of a session, and a cache of their data. */

const BATCH = 100;  // steps in one request; the list shows fewer
const IMAGES = 64e6, TEXTS = 16e6;  // bytes that are kept
/** @type {Summary} */
const NO_SUMMARY = { kind: "other", words: "", host: "", error: "", isDamaged: false, thoughts: [], moment: null, duration: null, observed: null };

/**
 * @typedef {"screenshot" | "page" | "changes" | "compare"} View
 * @typedef {"before" | "after"} Side
 * @typedef {object} Run
 * @property {string} session
 * @property {string[]} steps the ids; a run that is recorded gets more
 * @property {Source} source
 * @property {((n: number) => Promise<Picture>) & { peek: (n: number) => Picture | null }} images
 * @property {(n: number, name: string) => Promise<string>} text of html, action, metadata or changes
 * @property {(n: number) => Promise<Summary>} summary
 * @property {Map<number, Summary>} known the summaries that were read so far
 * @property {Side | null} observed from the metadata of the session
 */

/** @param {string} session @param {string[]} steps @param {Source} source @returns {Run} */
function openRun(session, steps, source) {
  /** @type {number[]} */
  let numbers = [];
  /** @type {Promise<Map<number, Outline>> | null} */
  let batch = null;

  /** Read the outline of a step. Outlines that are needed at the same time are one request. @param {number} n */
  async function readOutline(n) {
    numbers.push(n);
    batch ??= Promise.resolve().then(async () => {
      const mine = numbers.splice(0, BATCH);
      batch = null;
      const found = await source.outline(mine);
      return new Map(mine.map((number, i) => [number, found[i]]));
    });
    const outline = (await batch).get(n) ?? {};
    return { outline, size: 2 * ((outline.action ?? "").length + (outline.metadata ?? "").length + 100) };
  }

  const outlines = cached(readOutline, TEXTS);
  /** @type {Record<string, (n: number) => Promise<{ text: string, size: number }>>} */
  const texts = {};
  for (const name of ["html", "action", "metadata", "changes"]) {
    texts[name] = cached(async (n) => { const text = await source.text(n, name); return { text, size: 2 * text.length }; }, TEXTS);
  }

  /** @param {number} n @param {string} name */
  async function text(n, name) {
    if (name === "action" || name === "metadata") {
      const { outline } = await outlines(n);
      if (outline[name] !== undefined) return outline[name];
      if (outline.lacks?.includes(name)) throw new Missing(`This step has no ${name}.`);
    }
    return (await texts[name](n)).text;  // it is large, or gives the reason why it cannot be read
  }

  /** @type {Map<number, Summary>} */
  const known = new Map();
  return {
    session, steps, source, text, known, observed: null,
    images: cached((n) => source.image(n), IMAGES, ({ url }) => URL.revokeObjectURL(url)),
    async summary(n) {
      const { outline: { action, metadata = "", lacks, error } } = await outlines(n);
      const failure = error ? { error: `This step cannot be read. ${error}`, isDamaged: action === undefined && !lacks?.includes("action") } : {};
      const found = known.get(n) ?? { ...summarize(action, metadata), ...failure };
      known.set(n, found);
      return found;
    },
  };
}

/** The metadata of a step, or {} if it cannot be read. @param {Run} run @param {number} n */
async function metadataOf(run, n) {
  try { return parsed(await run.text(n, "metadata")); } catch { return {}; }
}

/** The summary of a step, or NO_SUMMARY if it cannot be read. @param {Run} run @param {number} n */
const summaryOf = (run, n) => run.summary(n).catch(() => NO_SUMMARY);

/** The side of the action that a step has stored; null if it is not known. @param {Run} run @param {number} n */
const observedAt = async (run, n) => (await summaryOf(run, n)).observed ?? run.observed;

/**
 * The step next to another, as iter_transitions pairs them: the same prefix and consecutive numbers, or the order if
 * ids have no number. -1 if there is none.
 * @param {string[]} steps @param {number} n @param {1 | -1} direction
 */
function neighbour(steps, n, direction) {
  const other = n + direction;
  if (other < 0 || other >= steps.length) return -1;
  const [mine, theirs] = [steps[n], steps[other]].map((id) => /^(.*?)(\d+)$/s.exec(id));
  if (!mine && !theirs) return other;
  if (!mine || !theirs || mine[1] !== theirs[1]) return -1;
  return BigInt(theirs[2]) - BigInt(mine[2]) === BigInt(direction) ? other : -1;
}

/**
 * The step that has stored the page before or after the action of step n. Throw Missing if it is not known.
 * @param {Run} run @param {number} n @param {Side | null} side null: the side that the step itself has stored
 */
async function pageOf(run, n, side) {
  if (side === null) return n;
  const observed = await observedAt(run, n);
  if (side === observed) return n;
  if (observed === null) throw new Missing("It was not recorded whether this step shows the page before or after its action.");
  const found = neighbour(run.steps, n, side === "before" ? -1 : 1);
  if (found < 0) throw new Missing(side === "before" ? "The page before this action was not recorded: there is no step before it." : "The page after this action was not recorded: there is no step after it.");
  return found;
}
