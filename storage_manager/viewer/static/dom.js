// @ts-check
/* Elements, words and queues. */

const $ = (selector, root = document) => root.querySelector(selector);

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

const count = (n, one, many = one + "s") => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (n >= 1000 && unit < 4) { n /= 1000; unit += 1; }
  return `${n < 10 && unit ? n.toFixed(1) : Math.round(n)} ${units[unit]}`;
}

function ago(date) {
  const seconds = Math.max(0, (Date.now() - date) / 1000);
  for (const [below, unit, name] of [[60, 1, "s"], [3600, 60, "min"], [86400, 3600, "h"]]) {
    if (seconds < below) return `${Math.floor(seconds / unit)} ${name} ago`;
  }
  return seconds < 30 * 86400 ? `${count(Math.floor(seconds / 86400), "day")} ago` : date.toISOString().slice(0, 10);
}

/* Run at most `width` functions at a time, the newest first, because the user is looking at that one now. */
function queue(width) {
  const waiting = [];
  let running = 0;
  const next = () => {
    while (running < width && waiting.length) {
      running += 1;
      waiting.pop()().finally(() => { running -= 1; next(); });
    }
  };
  return (work) => { waiting.push(work); next(); };
}

class Missing extends Error {}
