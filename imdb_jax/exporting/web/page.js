// The page: what happens while somebody types. Texts become text nodes, never HTML.

import { createModel } from "./model.js";
import { unpack } from "./unpack.js";

const STRONGEST = 8; // words listed for and against
const LEAST_SHARE = 0.05; // of the greatest weight in a text; words below it are not marked
const SLICE = 30; // milliseconds of weighing after which the browser may do something else
const SPOKEN_AFTER = 800; // milliseconds without a key after which a screen reader hears the result

const element = (id) => document.getElementById(id);
const [review, marked, status] = ["review", "marked", "status"].map(element);
const signed = (weight, digits) => (weight < 0 ? "−" : "+") + Math.abs(weight).toFixed(digits);

let model;
let latest = 0; // number of the text that is being weighed
let speaking;

async function start() {
  const description = JSON.parse(element("description").textContent);
  model = createModel(description, await unpack(description, element("packed").textContent));
  review.addEventListener("input", update);
  for (const button of document.querySelectorAll(".examples button")) {
    button.addEventListener("click", () => {
      review.value = button.value;
      if (button.id === "clear") review.focus();
      update();
    });
  }
  await update();
}

async function update() {
  const number = ++latest;
  const prediction = model.predict(review.value);
  showPrediction(prediction);
  marked.ariaBusy = "true";
  const shown = markable(prediction);
  const weighing = prediction.weigh();
  let [begin, done] = [performance.now(), false];
  while (!done) {
    while (!(done = weighing.next().done) && performance.now() - begin < SLICE);
    if (number !== latest) return; // somebody typed meanwhile
    mark(shown, prediction.words);
    element("progress").textContent = done ? "" : "weighing the words, from the last one on…";
    if (!done) {
      await new Promise((resolve) => setTimeout(resolve));
      if (number !== latest) return;
      begin = performance.now();
    }
  }
  marked.ariaBusy = "false";
}

function showPrediction({ probability, label, unknownShare, words }) {
  const figure = probability.toFixed(4);
  const side = label === null ? "none" : probability > 0.5 ? "positive" : "negative";
  const unknown = `${Math.round(100 * unknownShare)}% of ${words.length} words unknown`;
  const said = label ?? "no known word";
  element("label").textContent = said;
  element("probability").textContent = figure;
  element("unknown").textContent =
    label !== null
      ? unknown
      : "The model knows no word of this text. The probability is what it says to an empty review.";
  document.body.dataset.side = side;
  const gauge = element("gauge");
  gauge.ariaValueNow = figure;
  gauge.ariaValueText = `${figure}, ${said}`;
  const bar = element("bar").style;
  bar.setProperty("left", `${100 * Math.min(probability, 0.5)}%`);
  bar.setProperty("width", `${100 * Math.abs(probability - 0.5)}%`);
  clearTimeout(speaking);
  speaking = setTimeout(() => {
    status.textContent = label === null ? said : `${said}, probability ${figure}, ${unknown}`;
  }, SPOKEN_AFTER);
}

/** Put the text into the page, and return an element for each of its words. */
function markable({ text, words }) {
  const breaks = new Map(); // start of the word "br" -> end of the line break that it is part of
  for (const { 0: tag, index } of text.matchAll(/<br \/>/gi)) {
    breaks.set(index + 1, index + tag.length);
  }
  const shown = document.createDocumentFragment();
  const between = (start, end) => shown.append(text.slice(start, end).replace(/<br \/>/gi, "\n"));
  let position = 0;
  const elements = words.map(({ start, end, read }) => {
    const word = document.createElement(read ? "span" : "s");
    const isBreak = breaks.has(start);
    between(position, isBreak ? start - 1 : start);
    position = isBreak ? breaks.get(start) : end;
    word.textContent = isBreak ? "↵\n" : text.slice(start, end);
    if (!read) word.title = "not read";
    shown.append(word);
    return word;
  });
  between(position);
  marked.replaceChildren(shown);
  return elements;
}

/** Mark the words by their weights, and list the strongest. */
function mark(elements, words) {
  const greatest = Math.max(...words.map(({ weight }) => Math.abs(weight))) || 1;
  words.forEach(({ weight, read }, i) => {
    if (!read) return;
    const share = Math.abs(weight) / greatest;
    elements[i].title = signed(weight, 4);
    elements[i].className = share < LEAST_SHARE ? "" : weight > 0 ? "up" : "down";
    elements[i].style.setProperty("--share", share.toFixed(2));
  });
  list(element("up"), words, 1);
  list(element("down"), words, -1);
}

function list(into, words, sign) {
  const greatest = new Map(); // of a word that occurs several times
  for (const { word, weight } of words) {
    if (weight * sign > 0 && !(greatest.get(word) * sign > weight * sign)) {
      greatest.set(word, weight);
    }
  }
  const strongest = [...greatest].sort(([, a], [, b]) => sign * (b - a)).slice(0, STRONGEST);
  const most = Math.max(...words.map(({ weight }) => Math.abs(weight)));
  into.replaceChildren(
    ...strongest.map(([word, weight]) => {
      const item = document.createElement("li");
      const [name, figure, bar] = ["bdi", "span", "i"].map((tag) => document.createElement(tag));
      name.textContent = word;
      figure.textContent = signed(weight, 3);
      bar.style.setProperty("width", `${(100 * Math.abs(weight)) / most}%`);
      item.append(name, " ", figure, bar);
      return item;
    }),
  );
}

start().catch((error) => {
  element("label").textContent = "an error";
  element("unknown").textContent = `This browser cannot run the model: ${error.message}`;
  throw error;
});
