// Numbers of vectors for strips of cells: how large each is beside the largest, and lengths.

export type Numbers = readonly (number | null)[];

/** The largest size among finite numbers; 0 if there is none. */
export function largest(...all: Numbers[]): number {
  return all.flat().reduce<number>((most, v) => (v !== null && Math.abs(v) > most ? Math.abs(v) : most), 0);
}

/** Each number as a part of a size, -1 to 1; NaN for what is no number. */
export function parts(numbers: Numbers, of: number): number[] {
  return numbers.map((v) => (v === null ? NaN : of === 0 ? 0 : Math.min(1, Math.max(-1, v / of))));
}

/** Element by element. */
export function products(a: Numbers, b: Numbers): (number | null)[] {
  return a.map((x, i) => {
    const y = b[i];
    return x === null || y === null || y === undefined ? null : x * y;
  });
}

/** The Euclidean norm; null if a number is none. */
export function length(numbers: Numbers): number | null {
  let sum = 0;
  for (const v of numbers) {
    if (v === null) return null;
    sum += v * v;
  }
  return Math.sqrt(sum);
}
