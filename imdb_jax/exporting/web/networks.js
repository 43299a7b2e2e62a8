// The forward pass of each architecture (models/*.py), and of a text without one of its words.
//
// A network is a function from ids to `logit`, the log-odds of the positive class, and `without`, a
// function that gives the log-odds without a word. Only what the word changes is computed again.

import { UNKNOWN } from "./text.js";

/** Dense layers with ReLU between them; the last one has one output. */
class Layers {
  constructor(parts) {
    this.layers = [];
    for (let i = 0; parts[`Dense_${i}.kernel`]; i++) {
      this.layers.push({ kernel: parts[`Dense_${i}.kernel`], bias: parts[`Dense_${i}.bias`] });
    }
  }

  /** Return the sums of the first layer, for an input of zeros. */
  begin() {
    return Float64Array.from(this.layers[0].bias);
  }

  /** Add an input's share to the sums of a layer. */
  add(sums, input, value, layer = 0) {
    if (value === 0) return;
    const { kernel } = this.layers[layer];
    const width = sums.length;
    for (let i = 0, from = input * width; i < width; i++) sums[i] += value * kernel[from + i];
  }

  /** Return the logit, given the sums of the first layer. */
  logit(sums) {
    for (let layer = 1; layer < this.layers.length; layer++) {
      const next = Float64Array.from(this.layers[layer].bias);
      sums.forEach((sum, i) => this.add(next, i, Math.max(sum, 0), layer));
      sums = next;
    }
    return sums[0];
  }
}

function mlp(parts) {
  const layers = new Layers(parts);
  return (ids) => {
    const sums = layers.begin();
    for (const id of ids) layers.add(sums, id, 1);
    const without = (id) => {
      const changed = sums.slice();
      layers.add(changed, id, -1);
      return layers.logit(changed);
    };
    return { logit: layers.logit(sums), without };
  };
}

/** The vectors of words, side by side, or with `mean` their mean. */
function vectors(parts, { embedding_dim: dim }, mean) {
  const embedding = parts["Embed_0.embedding"];
  const layers = new Layers(parts);
  return (ids) => {
    const share = mean ? 1 / ids.length : 1;
    const sums = layers.begin();
    const add = (into, place, id, factor) => {
      const from = mean ? 0 : place * dim;
      for (let d = 0; d < dim; d++) layers.add(into, from + d, factor * embedding[id * dim + d]);
    };
    ids.forEach((id, place) => add(sums, place, id, share));
    const without = (place) => {
      const changed = sums.slice();
      add(changed, place, ids[place], -share);
      add(changed, place, UNKNOWN, share);
      return layers.logit(changed);
    };
    return { logit: layers.logit(sums), without };
  };
}

function cnn(parts, { embedding_dim: dim, filters, kernel_size: size, pool_size: pool }) {
  const embedding = parts["Embed_0.embedding"];
  const kernel = parts["Conv_0.kernel"];
  const bias = parts["Conv_0.bias"];
  const layers = new Layers(parts);
  const before = (size - 1) >> 1; // words that a filter sees before the one in its middle

  /** Return what a word adds to all filters, for each place that it may have under them. */
  function terms(id) {
    const sums = new Float64Array(size * filters);
    for (let k = 0; k < size; k++) {
      for (let d = 0; d < dim; d++) {
        const value = embedding[id * dim + d];
        const from = (k * dim + d) * filters;
        for (let f = 0; f < filters; f++) sums[k * filters + f] += value * kernel[from + f];
      }
    }
    return sums;
  }

  return (ids) => {
    const length = ids.length;
    const window = pool || length;
    const windows = Math.floor(length / window);
    const cached = new Map();
    const termsOf = (id) => cached.get(id) ?? cached.set(id, terms(id)).get(id);
    const convolved = new Float64Array(length * filters);
    for (let p = 0; p < length; p++) convolved.set(bias, p * filters);
    const add = (place, id, factor) => {
      const added = termsOf(id);
      for (let k = 0; k < size; k++) {
        const p = place + before - k;
        if (p < 0 || p >= length) continue;
        for (let f = 0; f < filters; f++) {
          convolved[p * filters + f] += factor * added[k * filters + f];
        }
      }
    };
    ids.forEach((id, place) => add(place, id, 1));
    // The maximum of each filter in each window; ReLU: none is below 0.
    const features = new Float64Array(windows * filters);
    const places = new Int32Array(windows * filters).fill(-1); // where it is
    const sums = layers.begin();
    for (let p = 0; p < windows * window; p++) {
      const from = Math.floor(p / window) * filters;
      for (let f = 0; f < filters; f++) {
        if (convolved[p * filters + f] <= features[from + f]) continue;
        features[from + f] = convolved[p * filters + f];
        places[from + f] = p;
      }
    }
    features.forEach((value, i) => layers.add(sums, i, value));

    /** Return a maximum after the places from `first` to `last` have changed. */
    const maximum = (w, f, first, last) => {
      let greatest = features[w * filters + f];
      let [from, to] = [Math.max(first, w * window), Math.min(last, (w + 1) * window - 1)];
      const place = places[w * filters + f];
      if (first <= place && place <= last) {
        [greatest, from, to] = [0, w * window, (w + 1) * window - 1];
      }
      for (let p = from; p <= to; p++) {
        if (convolved[p * filters + f] > greatest) greatest = convolved[p * filters + f];
      }
      return greatest;
    };

    const without = (place) => {
      const first = Math.max(0, place + before - size + 1);
      const last = Math.min(length - 1, place + before);
      const kept = convolved.slice(first * filters, (last + 1) * filters);
      add(place, ids[place], -1);
      add(place, UNKNOWN, 1);
      const changed = sums.slice();
      const lastWindow = Math.min(windows - 1, Math.floor(last / window));
      for (let w = Math.floor(first / window); w <= lastWindow; w++) {
        for (let f = 0; f < filters; f++) {
          const i = w * filters + f;
          layers.add(changed, i, maximum(w, f, first, last) - features[i]);
        }
      }
      convolved.set(kept, first * filters);
      return layers.logit(changed);
    };
    return { logit: layers.logit(sums), without };
  };
}

const ROUNDING = 1e-7;

function differ(one, other) {
  for (let u = 0; u < one.cell.length; u++) {
    if (Math.abs(one.cell[u] - other.cell[u]) > ROUNDING) return true;
    if (Math.abs(one.hidden[u] - other.hidden[u]) > ROUNDING) return true;
  }
  return false;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

function lstm(parts, { embedding_dim: dim, units }) {
  const embedding = parts["Embed_0.embedding"];
  const kernel = parts.kernel;
  const bias = parts.bias;
  const layers = new Layers(parts);
  const width = 4 * units;
  const room = 4 * Math.ceil(units / 4); // four units at a time; those that fill it up are zeros
  const recurrent = new Float64Array(room * width);
  recurrent.set(parts.recurrent_kernel);
  const gates = new Float64Array(width);
  const start = { hidden: new Float64Array(room), cell: new Float64Array(room) };
  const padded = [start]; // the states after none, one, two and more of padding
  let ofPadding = null;

  /** Return what a word adds to the gates. */
  function added(id) {
    const sums = Float64Array.from(bias);
    for (let d = 0; d < dim; d++) {
      const value = embedding[id * dim + d];
      for (let g = 0; g < width; g++) sums[g] += value * kernel[d * width + g];
    }
    return sums;
  }

  /** Return the state after one more word. The gates: input, forget, candidate, output. */
  function step({ hidden, cell }, ofWord) {
    gates.set(ofWord);
    for (let u = 0; u < units; u += 4) {
      const h0 = hidden[u];
      const h1 = hidden[u + 1];
      const h2 = hidden[u + 2];
      const h3 = hidden[u + 3];
      for (let g = 0, from = u * width; g < width; g++, from++) {
        gates[g] +=
          h0 * recurrent[from] +
          h1 * recurrent[from + width] +
          h2 * recurrent[from + 2 * width] +
          h3 * recurrent[from + 3 * width];
      }
    }
    const next = { hidden: new Float64Array(room), cell: new Float64Array(room) };
    for (let u = 0; u < units; u++) {
      const kept = sigmoid(gates[units + u]) * cell[u];
      next.cell[u] = kept + sigmoid(gates[u]) * Math.tanh(gates[2 * units + u]);
      next.hidden[u] = sigmoid(gates[3 * units + u]) * Math.tanh(next.cell[u]);
    }
    return next;
  }

  function logit({ hidden }) {
    const sums = layers.begin();
    for (let u = 0; u < units; u++) layers.add(sums, u, hidden[u]);
    return layers.logit(sums);
  }

  return (ids) => {
    ofPadding ??= added(0);
    let place = 0;
    while (place < ids.length && ids[place] === 0) {
      padded[place + 1] ??= step(padded[place], ofPadding);
      place++;
    }
    const first = place;
    const words = ids.map((id, i) => (i < first ? null : added(id)));
    const states = padded.slice(0, first + 1); // before each word, and after the last
    for (; place < ids.length; place++) states.push(step(states[place], words[place]));
    const unknown = added(UNKNOWN);
    const without = (removed) => {
      let state = step(states[removed], unknown);
      let i = removed + 1;
      // A difference below the rounding of float32 is none.
      while (i < ids.length && differ(state, states[i])) state = step(state, words[i++]);
      return logit(i < ids.length ? states[ids.length] : state);
    };
    return { logit: logit(states[ids.length]), without };
  };
}

/** Make the network of an architecture, by the name of its Flax module. */
export const NETWORKS = {
  MLP: mlp,
  EmbeddingMLP: (parts, fields) => vectors(parts, fields, false),
  Pooled: (parts, fields) => vectors(parts, fields, true),
  CNN: cnn,
  LSTM: lstm,
};
