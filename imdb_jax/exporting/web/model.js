// A trained model: what it says about a text, and how far each word moves that
// (inference/explanation.py).

import { NETWORKS } from "./networks.js";
import { NgramReader, WordReader, wellFormed } from "./text.js";

/** Make a model of its description and its unpacked parts. */
export function createModel(description, parts) {
  const make = description.module === "Ngram" ? ngramModel : wordModel;
  const { read, labels } = { read: make(description, parts), labels: description.labels };
  return {
    /**
     * Predict a text. Returns its words, with their places, and `weigh`, a generator that weighs
     * the words: it stops after each, so that the caller may do something else meanwhile.
     */
    predict(text) {
      text = wellFormed(text);
      const { words, unknownShare, logit, weigh } = read(text);
      const probability = 1 / (1 + Math.exp(-logit));
      const label = unknownShare < 1 ? labels[Number(probability > 0.5)] : null;
      return { text, words, unknownShare, probability, label, weigh };
    },
  };
}

function wordModel(description, parts) {
  const reader = new WordReader(description, parts);
  const network = NETWORKS[description.module](parts, description.fields);
  return (text) => {
    const { words, unknownShare, ids } = reader.read(text);
    const { logit, without } = network(ids);
    function* weigh() {
      const weights = new Map(); // all occurrences of a word in a set have one weight
      // From the last word on: these are the soonest done where words are read in order.
      for (const word of words.filter(({ read }) => read).reverse()) {
        if (!weights.has(word.key)) weights.set(word.key, logit - without(word.key));
        word.weight = weights.get(word.key);
        yield;
      }
    }
    return { words, unknownShare, logit, weigh };
  };
}

function ngramModel(description, parts) {
  const reader = new NgramReader(description, parts);
  const { contributions, bias } = parts;
  return (text) => {
    const { words, unknownShare, occurrences } = reader.read(text);
    const spans = new Map(); // n-gram -> the first and the last word that all its occurrences hold
    for (const { ngram, place, length } of occurrences) {
      const [first, last] = spans.get(ngram) ?? [place, place + length - 1];
      spans.set(ngram, [Math.max(first, place), Math.min(last, place + length - 1)]);
    }
    let logit = bias[0];
    for (const ngram of spans.keys()) logit += contributions[ngram];
    function* weigh() {
      for (const [ngram, [first, last]] of spans) {
        for (let i = first; i <= last; i++) words[i].weight += contributions[ngram];
      }
    }
    return { words, unknownShare, logit, weigh };
  };
}
