// From a text to what a model reads: the rules of text/tokens.py, text/sequences.py and
// text/ngrams.py.

const PAD = 0;
const START = 1;
export const UNKNOWN = 2;
const INDEX_FROM = 3;

/** Find the words of `keras.datasets.imdb` in a text: only ASCII separates, only ASCII is lowered. */
function findWords(text) {
  return find(text, /[^ \t\n!-&(-/:-@[-`{-~]+/g);
}

/** Find words and punctuation marks; `<br />` counts as a space. */
function findTokens(text) {
  const spaced = text.replace(/<br[ \t\n\r\f\v\0]\/>/gi, "      ");
  return find(spaced, /[a-z0-9]+(?:'[a-z]+)?|[^ \t\n\r\f\v\0]/gu);
}

function find(text, pattern) {
  const lowered = text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  return Array.from(lowered.matchAll(pattern), ({ 0: word, index }) => {
    return { word, start: index, end: index + word.length, read: false, weight: 0 };
  });
}

/** Replace what is not valid Unicode as Python does, a mark for each byte that it would take. */
export function wellFormed(text) {
  return text.replace(/\p{Surrogate}/gu, "\ufffd\ufffd\ufffd");
}

/** Reads a text as the ids of its words, in order, or as the set of them. */
export class WordReader {
  constructor({ input }, { words }) {
    this.input = input;
    this.rank = new Map(words ? words.split("\n").map((word, i) => [word, i + 1]) : []);
  }

  /** Return the words of a text, the share of unknown ones, and the ids that the model reads. */
  read(text) {
    const { num_words: numWords, distinct } = this.input;
    const words = findWords(text);
    let known = 0;
    let ids = [START];
    const owners = [null]; // the word of each id
    for (const word of words) {
      const rank = this.rank.get(word.word);
      if (!rank) continue; // never seen in training
      word.read = rank < numWords - INDEX_FROM;
      known += word.read;
      ids.push(rank + INDEX_FROM);
      owners.push(word);
    }
    ids = ids.map((id) => (id < numWords ? id : UNKNOWN));
    const unknownShare = words.length ? (words.length - known) / words.length : 1;
    const { first, end, before, after } = this.window(ids.length);
    owners.forEach((word, i) => {
      if (!word) return;
      word.read &&= first <= i && i < end;
      // What is removed to weigh the word: an id of a set, else the id at a place.
      word.key = distinct ? ids[i] : i - first + before;
    });
    ids = ids.slice(first, end);
    if (distinct) ids = [...new Set(ids)].filter((id) => id !== PAD);
    else ids = [...Array(before).fill(PAD), ...ids, ...Array(after).fill(PAD)];
    return { words, unknownShare, ids };
  }

  /** Return which ids of a text are read, and how many of padding stand before and after them. */
  window(size) {
    const { max_length: length, padding, truncating, distinct } = this.input;
    const kept = length ? Math.min(size, length) : size;
    const first = truncating === "pre" ? size - kept : 0;
    const filled = length && !distinct ? length - kept : 0;
    const [before, after] = padding === "pre" ? [filled, 0] : [0, filled];
    return { first, end: first + kept, before, after };
  }
}

/** Reads a text as its n-grams, each with the places where it occurs. */
export class NgramReader {
  constructor({ input }, { words, last_words: lastWords, num_extensions: sizes }) {
    this.maxN = input.max_n;
    const list = words.split("\n");
    this.id = new Map(list.map((word, i) => [word, i + 1]));
    // The extensions of an n-gram by one word have consecutive ids, ordered by that word.
    this.lastWords = lastWords;
    this.firstLonger = list.length + 1;
    this.starts = new Uint32Array(sizes.length + 1);
    for (let i = 0; i < sizes.length; i++) this.starts[i + 1] = this.starts[i] + sizes[i];
  }

  /** Return the words of a text, the share of unknown ones, and the occurrences of n-grams. */
  read(text) {
    const words = findTokens(text);
    const ids = words.map(({ word }) => this.id.get(word) ?? 0);
    const occurrences = [];
    let known = 0;
    words.forEach((word, place) => {
      word.read = ids[place] > 0;
      known += word.read;
      let ngram = ids[place];
      for (let length = 1; ngram; length++) {
        occurrences.push({ ngram, place, length });
        const next = ids[place + length];
        ngram = next && length < this.maxN ? this.extension(ngram, next) : 0;
      }
    });
    const unknownShare = words.length ? (words.length - known) / words.length : 1;
    return { words, unknownShare, occurrences };
  }

  /** Return the id of an n-gram that continues with a word, 0 if it is not known. */
  extension(ngram, word) {
    let low = this.starts[ngram];
    const end = this.starts[ngram + 1];
    let high = end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.lastWords[middle] < word) low = middle + 1;
      else high = middle;
    }
    return low < end && this.lastWords[low] === word ? this.firstLonger + low : 0;
  }
}
