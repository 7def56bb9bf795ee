//! What queries say of a context that turns out to draft for another one.

use crate::contexts::Contexts;
use crate::table::{DEFAULT_MEMORY, Table};
use ggscope_trace::Trace;
use ggscope_trace::testing_drafts::{RIGHT, ROUND, begin, phases, take};

#[test]
fn a_draft_has_no_answers_and_names_its_target() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ggtrace");
    let mut writer = begin(&path, &ROUND);
    (0..ROUND.len()).for_each(|number| take(&mut writer, &ROUND, number));
    writer.finish().unwrap();
    let contexts = Contexts::of(&Trace::open(&path).unwrap());
    let drafts: Vec<_> = contexts.iter().map(|c| (c.drafts_for, c.generated_tokens)).collect();
    assert_eq!(drafts, [(None, 2), (Some(0), 0)]);
}

#[test]
fn who_looks_on_while_it_is_recorded_sees_the_correction() {
    let dir = tempfile::tempdir().unwrap();
    for flush in [false, true] {
        let mut writer = begin(&dir.path().join(format!("{flush}.ggtrace")), &ROUND);
        let growing = writer.share().unwrap();
        (0..4).for_each(|number| take(&mut writer, &ROUND, number));
        if flush {
            writer.flush().unwrap();
        }
        writer.show();
        let before = growing.trace();
        assert_eq!(phases(&before)[2..], [(1, 1), (1, 1)], "nothing says yet that it is a draft");
        let (mut table, mut contexts) = (Table::new(&before, DEFAULT_MEMORY), Contexts::of(&before));
        (4..ROUND.len()).for_each(|number| take(&mut writer, &ROUND, number));
        writer.show();
        let after = growing.trace();
        assert_eq!(phases(&after), RIGHT);
        assert!(!table.is_up_to_date(&after));
        table.update(&after);
        contexts.update(&after);
        assert!(table.is_up_to_date(&after));
        let answers: Vec<u32> = table.headers(0).map(|(_, header)| header.n_generated).collect();
        assert_eq!(answers, [0, 0, 0, 0, 1, 0, 1]);
        assert_eq!(contexts.get(1).unwrap().generated_tokens, 0);
    }
}
