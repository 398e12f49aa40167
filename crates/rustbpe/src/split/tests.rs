use super::*;
use proptest::prelude::*;
use scanner::patterns;

fn chunks<'t>(splitter: &Splitter, text: &'t str) -> Vec<&'t str> {
    let mut chunks = Vec::new();
    splitter.for_each_chunk(text, |chunk| chunks.push(chunk)).expect("the engine does not give up");
    chunks
}

/// The scanner and the engine for every known pattern.
fn both() -> Vec<(Splitter, Splitter)> {
    let pair = |pattern| {
        let scanner = Splitter::new(pattern).expect("a valid pattern");
        assert!(scanner.is_scanner());
        (scanner, Splitter::by_engine(pattern).expect("a valid pattern"))
    };
    patterns().map(pair).collect()
}

fn compare(splitters: &[(Splitter, Splitter)], text: &str) {
    for (scanner, engine) in splitters {
        let found = chunks(scanner, text);
        assert_eq!(found, chunks(engine, text), "{scanner:?}");
        assert_eq!(found.concat(), text);
        let mut first = Vec::new();
        let stopped = scanner.try_for_each_range(text, |chunk| {
            first.push(&text[chunk]);
            if first.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert_eq!(first, found[..found.len().min(3)]);
        assert_eq!(stopped.is_err(), found.len() >= 3);
        for from in 0..text.len() {
            if let Some(cut) = scanner.cut_after(text, from) {
                let (left, right) = text.split_at(cut);
                assert!(cut >= from);
                assert_eq!([chunks(scanner, left), chunks(scanner, right)].concat(), found, "cut at {cut}");
            }
        }
    }
}

/// Pieces that meet every branch, and those that look like them.
const PIECES: [&str; 40] = [
    " ",
    " ",
    "  ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\u{b}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\u{200b}",
    "'",
    "'s",
    "'S",
    "'ſ",
    "'ll",
    "'lL",
    "'VE",
    "'re",
    "'d",
    "'m",
    "'T",
    "l",
    "abcdefghi",
    "Z",
    "é",
    "ſ",
    "한",
    "𝒜",
    "e\u{301}",
    "1",
    "٣",
    "½",
    "𝟘",
    "-",
    "🙂",
    "\0",
    "…",
];

fn text_of_pieces() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn equal_to_the_engine_on_pieces(text in text_of_pieces()) {
        compare(both_once(), &text);
    }

    #[test]
    fn equal_to_the_engine_on_all_planes(text in prop::collection::vec(any::<char>(), 0..40)) {
        compare(both_once(), &text.into_iter().collect::<String>());
    }

    #[test]
    fn equal_to_the_engine_on_ascii(text in "[ -~\\r\\n\\t]{0,60}") {
        compare(both_once(), &text);
    }
}

/// Compiling the patterns takes longer than a case.
fn both_once() -> &'static [(Splitter, Splitter)] {
    static BOTH: std::sync::LazyLock<Vec<(Splitter, Splitter)>> = std::sync::LazyLock::new(both);
    &BOTH
}

#[test]
fn equal_to_the_engine_around_every_character() {
    // All those of the common scripts, and some of all others: `unicode` looks at every single one.
    for character in ('\0'..='\u{3100}').chain(('\u{3100}'..=char::MAX).step_by(199)) {
        let text = format!("'{character} {character}a{character}1{character}\n{character}");
        let (scanner, engine) = &both_once()[0];
        assert_eq!(chunks(scanner, &text), chunks(engine, &text), "{character:?}");
    }
}

#[test]
fn equal_to_the_engine_on_all_short_texts() {
    // Every text of up to six of these seven letters.
    let letters = [" ", "\n", "\t", "a", "1", "'", "s"];
    let mut texts = vec![String::new()];
    for length in 0..6 {
        let longer: Vec<String> = texts
            .iter()
            .filter(|text| text.len() == length)
            .flat_map(|text| letters.iter().map(move |letter| format!("{text}{letter}")))
            .collect();
        texts.extend(longer);
    }
    for (scanner, engine) in both_once() {
        for text in &texts {
            assert_eq!(chunks(scanner, text), chunks(engine, text), "{text:?}");
        }
    }
}

#[test]
fn runs_of_any_length_are_cut_in_linear_time() {
    // Were a run read anew for each of its characters, a million of them would take hours.
    let long = 1_000_000;
    for unit in
        [" ", "\n", "\r\n", " \n", "\n ", "\t\u{a0}", "a", "é", "1", "'", "-", "'s", " a", "🙂", "\u{2028}"]
    {
        let run = unit.repeat(long / unit.len());
        for ends in ["", "x", "\n", " x", "   "] {
            let text = format!("x{run}{ends}");
            for (scanner, _) in both_once() {
                let mut bytes = 0;
                scanner.for_each_chunk(&text, |chunk| bytes += chunk.len()).expect("a scanner never fails");
                assert_eq!(bytes, text.len());
            }
        }
    }
}

#[test]
fn other_patterns_go_to_the_engine() {
    let splitter = Splitter::new(r"\S+|\s+").expect("a valid pattern");
    assert!(!splitter.is_scanner());
    assert_eq!(chunks(&splitter, "it's  so"), ["it's", "  ", "so"]);
    assert_eq!(splitter.cut_after("it's  so", 0), None);
    let some = Splitter::new("[0-9]").expect("a valid pattern");
    assert_eq!(chunks(&some, "a1b22"), ["1", "2", "2"]);
}

#[test]
fn a_broken_pattern_is_an_error() {
    assert!(matches!(Splitter::new("("), Err(TrainError::Pattern(_))));
}

#[test]
fn the_engine_may_give_up_where_the_scanner_does_not() {
    let (scanner, engine) = &both_once()[0];
    let spaces = " ".repeat(3_000_000);
    assert!(matches!(engine.for_each_chunk(&spaces, |_| {}), Err(TrainError::Split(_))));
    assert_eq!(chunks(scanner, &spaces), [&spaces]);
}
