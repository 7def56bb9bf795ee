//! Tests of the columns: rows come back exactly, and damaged ones do no harm.

use super::*;
use proptest::prelude::*;

const PHASES: [TokenPhase; 3] = [TokenPhase::Prompt, TokenPhase::Generate, TokenPhase::Unknown];

fn rows(n: usize, seed: u64) -> Vec<Row> {
    let mut first_token = 0;
    (0..n)
        .map(|i| {
            let random = |k: u64| (i as u64 + 1).wrapping_mul(seed | 1).wrapping_mul(k * 2 + 0x9e37_79b9) >> 40;
            let n_tokens = if i % 7 == 0 { 1 + random(1) as u32 % 5 } else { 1 };
            let calls = 3 + (i % 2) as u32;
            let row = Row {
                evaluation: Evaluation {
                    eval: EvalId(i as u64),
                    graph: GraphId((i % 3) as u32),
                    context: 1,
                    thread: 77,
                    call: i as u64 / 2,
                    status: if i % 5 == 4 { 1 } else { 0 },
                    start: Nanos(1_000_000 + i as u64 * 9_000 - random(2) % 100),
                    end: Nanos(1_000_000 + i as u64 * 9_000 + random(3) % 5_000),
                    minor_faults: random(4) as u32 % 9,
                    major_faults: 0,
                    n_tokens,
                    tokens: (0..n_tokens).map(|t| t as i32 + 5).collect(),
                    positions: if i % 4 == 3 { vec![] } else { (0..n_tokens as i32).collect() },
                    sequences: match i % 5 {
                        0 => vec![],
                        1 => (0..2 * n_tokens as i32).collect(),
                        _ => (0..n_tokens as i32).collect(),
                    },
                    n_sequences: if i % 5 == 1 { vec![2; n_tokens as usize] } else { vec![] },
                    sequences_from: match i % 5 {
                        0 => SequencesFrom::Nowhere,
                        1 | 2 => SequencesFrom::Batch,
                        _ => SequencesFrom::Cells,
                    },
                    outputs: (i % 2 == 0).then(|| vec![n_tokens as i32 - 1]),
                    requested: match i % 3 {
                        0 => None,
                        1 => Some((0..n_tokens as i32).collect()),
                        _ => Some(vec![n_tokens as i32 - 1]),
                    },
                    runs: vec![Run { n_nodes: 9, n_calls: calls, clocked: true, ..Default::default() }],
                    durations: (0..calls).map(|c| 1_000 * u64::from(c) + random(9 + u64::from(c)) % 50).collect(),
                    experts: if i % 6 == 0 {
                        vec![Experts { tensor: TensorId(4), n_used: 2, ids: vec![3, 1] }]
                    } else {
                        vec![]
                    },
                },
                phases: (0..n_tokens).map(|t| PHASES[(t as usize + i) % 3]).collect(),
                requests: (0..n_tokens).map(|t| (t + i as u32).checked_sub(2).map(RequestId)).collect(),
                first_token,
            };
            first_token += u64::from(n_tokens);
            row
        })
        .collect()
}

proptest! {
    #[test]
    fn every_row_comes_back_exactly(n in 0_usize..60, seed: u64) {
        let rows = rows(n, seed);
        let mut back = decode_evaluations(&encode_evaluations(&rows)).unwrap();
        decode_durations(&encode_durations(&rows), &mut back).unwrap();
        prop_assert_eq!(back, rows);
    }

    #[test]
    fn damaged_columns_are_an_error_or_other_rows_but_never_a_panic(seed: u64, at: usize, bit in 0_u8..8) {
        let rows = rows(20, 7);
        let mut bytes = encode_evaluations(&rows);
        let i = at % bytes.len();
        bytes[i] ^= 1 << bit;
        if let Ok(mut back) = decode_evaluations(&bytes) {
            let mut durations = encode_durations(&rows);
            let j = seed as usize % durations.len();
            durations[j] ^= 1 << bit;
            let _ = decode_durations(&durations, &mut back);
        }
    }
}

#[test]
fn a_long_prompt_without_ids_and_positions_comes_back() {
    let evaluation = Evaluation { n_tokens: 4096, ..Default::default() };
    let rows =
        vec![Row { evaluation, phases: vec![TokenPhase::Prompt; 4096], requests: vec![None; 4096], first_token: 0 }];
    assert_eq!(decode_evaluations(&encode_evaluations(&rows)).unwrap(), rows);
}

#[test]
fn few_bytes_cannot_ask_for_all_memory() {
    let huge = Columns {
        eval: vec![0; 64],
        graph: vec![0; 64],
        context: vec![0; 64],
        thread: vec![0; 64],
        status: vec![0; 64],
        call: vec![0; 64],
        start: vec![0; 64],
        length: vec![0; 64],
        minor_faults: vec![0; 64],
        major_faults: vec![0; 64],
        n_tokens: vec![u32::MAX / 2; 64],
        first_token: vec![0; 64],
        present: vec![0; 64],
        phases: vec![TokenPhase::Prompt; 64],
        requests: vec![0; 64],
        stretches: vec![u32::MAX; 64],
        n_runs: vec![0; 64],
        n_experts: vec![0; 64],
        ..Default::default()
    };
    let mut bytes = vec![];
    encode(&huge, &mut bytes);
    assert!(decode_evaluations(&bytes).unwrap_err().to_string().contains("tokens in one chunk"));
}

#[test]
fn durations_beyond_32_bits_are_exact() {
    let mut rows = rows(3, 1);
    rows[0].evaluation.durations[0] = u64::from(u32::MAX) * 1_000;
    let mut back = decode_evaluations(&encode_evaluations(&rows)).unwrap();
    decode_durations(&encode_durations(&rows), &mut back).unwrap();
    assert_eq!(back, rows);
}
