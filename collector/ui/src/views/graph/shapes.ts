// How the corners of a box are cut, so that categories are told apart without colours.
export const SHAPES = { round: 0, pill: 1, hexagon: 2, bevel: 3 } as const;
