// What the heatmap can show of a token in a layer, with the explanation and the formula of each.

export interface MeasureEntry {
  title: string;
  tex: string;
  says: string;
  /** Whether it is of the logit lens, which needs the model. */
  lens?: boolean;
  /** Whether it is between 0 and 1, so that colours begin and end there. */
  unit?: boolean;
}

export const MEASURES: Record<string, MeasureEntry> = {
  norm: {
    title: 'norm',
    tex: '\\lVert h \\rVert = \\sqrt{\\textstyle\\sum_i h_i^2}',
    says: 'How long the hidden state is. It grows from layer to layer, as every layer adds to it. The first token of a text is often a hundred times as long as all others: colours are of the logarithm then.',
  },
  cosine: {
    title: 'cosine with the layer before',
    tex: "\\frac{h \\cdot h'}{\\lVert h \\rVert\\,\\lVert h' \\rVert}",
    says: 'How far a layer turns the hidden state: 1 if it only makes it longer or shorter. Layers near 1 change little, and are the first candidates when some are to be left out.',
    unit: true,
  },
  attention: {
    title: 'share of attention',
    tex: '\\frac{\\lVert \\text{attention} \\rVert}{\\lVert h_{\\text{before}} \\rVert}',
    says: 'What attention adds to the stream, by the length of the stream before it.',
  },
  feed_forward: {
    title: 'share of feed-forward',
    tex: '\\frac{\\lVert \\text{feed-forward} \\rVert}{\\lVert h_{\\text{before}} \\rVert}',
    says: 'What the feed-forward network adds to the stream, by the length of the stream before it.',
  },
  largest: {
    title: 'largest magnitude',
    tex: '\\max_i |h_i|',
    says: 'The largest element of the hidden state. In many models one or two elements of a few tokens are massive: 100 or more, and 1,000 times the median (Sun et al. 2024).',
  },
  outliers: {
    title: 'outliers',
    tex: '\\#\\{\\, i : |h_i - \\bar h| > 6\\sigma \\,\\}',
    says: 'Elements more than six standard deviations from the mean of the hidden state.',
  },
  massive: {
    title: 'massive activations',
    tex: '|h_i| \\ge 100 \\;\\wedge\\; |h_i| \\ge 1000 \\cdot \\operatorname{median}_j |h_j|',
    says: 'Elements that are massive as Sun et al. 2024 define it. They act as biases: attention to the token that has them becomes a sink.',
  },
  nonfinite: {
    title: 'NaN and infinities',
    tex: '\\#\\{\\, i : h_i \\notin \\mathbb{R} \\,\\}',
    says: 'Elements that are no numbers any more. One of them spoils all that is computed from it.',
  },
  entropy: {
    title: 'entropy of the lens',
    tex: 'H = -\\textstyle\\sum_t p_t \\log_2 p_t',
    says: 'How undecided the model would be if it ended behind the layer, in bits: 0 if one token takes all, log₂ of the vocabulary if it knows nothing.',
    lens: true,
  },
  answer: {
    title: 'the answer in the lens',
    tex: 'p = \\operatorname{softmax}(W\\,\\operatorname{norm}(h))_{\\text{answer}}',
    says: 'How likely the final answer already is behind each layer.',
    lens: true,
    unit: true,
  },
};

export const FIRST = 'norm';

/** The measure with this name, or the first. */
export function measureOf(name: string | null): string {
  return name !== null && name in MEASURES ? name : FIRST;
}
