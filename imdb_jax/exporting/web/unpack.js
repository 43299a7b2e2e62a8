// What Python packed (packing.py): a description, and arrays in one compressed string.

/** Unpack the arrays and texts of a model, by name. */
export async function unpack(description, base64) {
  const compressed = bytesOf(base64);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const parts = {};
  let start = 0;
  for (const { name, kind, size, scale } of description.parts) {
    const length = kind === "text" ? size : size * { float16: 2, uint32: 4 }[kind];
    const part = bytes.subarray(start, (start += length));
    if (kind === "text") parts[name] = new TextDecoder().decode(part);
    else if (kind === "uint32") parts[name] = integers(part, new Uint32Array(size));
    else parts[name] = floats(part, size, scale);
  }
  return parts;
}

function bytesOf(base64) {
  const binary = atob(base64.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/** Join integers whose lowest bytes come first, then their second bytes, and so on. */
function integers(bytes, into) {
  const size = into.length;
  for (let plane = 0; plane * size < bytes.length; plane++) {
    for (let i = 0; i < size; i++) into[i] |= bytes[plane * size + i] << (8 * plane);
  }
  return into;
}

/** Read half-precision floats, multiplied by a scale. */
function floats(bytes, size, scale) {
  const halves = integers(bytes, new Uint16Array(size));
  const values = new Float32Array(size);
  for (let i = 0; i < size; i++) values[i] = HALF[halves[i]] * scale;
  return values;
}

// The value of each half-precision float, by its bits.
const HALF = Float32Array.from({ length: 1 << 16 }, (_, half) => {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const value = exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24;
  return half >> 15 ? -value : value;
});
