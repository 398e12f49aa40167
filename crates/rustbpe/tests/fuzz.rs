//! Random input against slow twins: the splitter, the encoder and the reader of columns. Cargo runs it briefly;
//! `PROPTEST_CASES=1000000 cargo test --release --test fuzz` runs it long (`scripts/soak-tokenizer`). A failure is
//! shrunk and printed.

use std::collections::HashMap;
use std::sync::LazyLock;

use _rustbpe::{Column, EncodeError, Encoder, Splitter, Vocab};
use fancy_regex::Regex;
use proptest::prelude::*;

/// Patterns with a scanner of their own, and one without.
const PATTERNS: [&str; 4] = [
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    r"\p{L}+|\p{N}|[^\p{L}\p{N}]+",
];

const PIECES: [&str; 36] = [
    " ",
    "  ",
    "\n",
    "\r",
    "\r\n",
    "\t",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{3000}",
    "\0",
    "'",
    "'s",
    "'LL",
    "'ſ",
    "a",
    "the",
    " the",
    "aaaa",
    "é",
    "e\u{301}",
    "ſ",
    "한국",
    "ไทย",
    "हिन्दी",
    "𝒜",
    "1",
    "12345",
    "٣",
    "½",
    "-",
    "...",
    "🙂",
    "👩‍👩‍👧",
    "\u{fffd}",
    "<|bos|>",
];

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..40).prop_map(|pieces| pieces.concat()),
        prop::collection::vec(any::<char>(), 0..60).prop_map(String::from_iter),
        prop::collection::vec(any::<u8>(), 0..80)
            .prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        "[ -~\\r\\n\\t]{0,120}",
        (prop::sample::select(&PIECES[..]), 1_usize..400).prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

/// Tokens of two bytes and more out of the pieces and their pairs, cut anywhere, in any order. (Nothing is filtered
/// out: over millions of cases proptest gives up at 65,536 rejects.)
fn vocabularies() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let piece = || prop::sample::select(&PIECES[..]);
    let cut = (piece(), piece(), any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let token = cut.prop_map(|(left, right, first, more)| {
        let both = [left, right].concat().into_bytes();
        let first = first.index(both.len() - 1);
        let last = first + 1 + more.index(both.len() - first - 1);
        both[first..=last].to_vec()
    });
    prop::collection::hash_set(token, 0..80)
        .prop_map(|more| (0..=255).map(|byte| vec![byte]).chain(more).collect())
}

fn chunks<'t>(engine: &Regex, text: &'t str) -> Vec<&'t str> {
    engine.find_iter(text).map(|found| found.expect("short text").as_str()).collect()
}

/// tiktoken's rules in their plainest form.
fn slow(tokens: &[Vec<u8>], chunk: &[u8]) -> Vec<u32> {
    let ids: HashMap<&[u8], u32> = tokens.iter().map(Vec::as_slice).zip(0..).collect();
    if let Some(&whole) = ids.get(chunk) {
        return vec![whole];
    }
    let mut bounds: Vec<usize> = (0..=chunk.len()).collect();
    loop {
        let pairs = bounds.windows(3).zip(1..);
        let found = pairs.filter_map(|(three, at)| Some((*ids.get(&chunk[three[0]..three[2]])?, at)));
        let Some((_, at)) = found.min() else { break };
        bounds.remove(at);
    }
    bounds.windows(2).map(|two| ids[&chunk[two[0]..two[1]]]).collect()
}

static ENGINES: LazyLock<Vec<(Splitter, Regex)>> = LazyLock::new(|| {
    let both =
        |pattern| (Splitter::new(pattern).expect("a pattern"), Regex::new(pattern).expect("a pattern"));
    PATTERNS.map(both).into()
});

proptest! {
    #[test]
    fn splitter(text in texts()) {
        for (splitter, engine) in &*ENGINES {
            let mut found = Vec::new();
            splitter.for_each_chunk(&text, |chunk| found.push(chunk)).expect("short text");
            prop_assert_eq!(found, chunks(engine, &text));
        }
    }

    #[test]
    fn encoder(tokens in vocabularies(), texts in prop::collection::vec(texts(), 1..6), which in 0..PATTERNS.len()) {
        let (splitter, engine) = &ENGINES[which];
        let vocab = Vocab::new(&tokens, &["<|bos|>"]).expect("a vocabulary");
        let encoder = Encoder::new(vocab, splitter.clone());
        let expected: Vec<Vec<u32>> = texts
            .iter()
            .map(|text| chunks(engine, text).iter().flat_map(|chunk| slow(&tokens, chunk.as_bytes())).collect())
            .collect();
        let batch = encoder.encode_batch(&texts[..], 2).expect("short texts");
        prop_assert!(batch.ids.iter().all(|&id| (id as usize) < encoder.vocab().ranks()));
        for ((text, expected), range) in texts.iter().zip(&expected).zip(batch.offsets.windows(2)) {
            let ids = &batch.ids[range[0] as usize..range[1] as usize];
            prop_assert_eq!(ids, expected);
            let mut bytes = Vec::new();
            encoder.vocab().decode(ids, &mut bytes).expect("known ids");
            prop_assert_eq!(bytes, text.as_bytes());
        }
    }

    #[test]
    fn reader(
        data in prop_oneof![prop::collection::vec(any::<u8>(), 0..60), texts().prop_map(String::into_bytes)],
        offsets in prop_oneof![
            prop::collection::vec(any::<i64>(), 0..5),
            prop::collection::vec(-2_i64..80, 0..8),
            prop::collection::vec(0_i64..70, 1..8).prop_map(|mut offsets| { offsets.sort_unstable(); offsets }),
        ],
    ) {
        let tokens: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
        let vocab = Vocab::new(&tokens, &[""; 0]).expect("a vocabulary");
        let encoder = Encoder::new(vocab, ENGINES[0].0.clone());
        let sound = !offsets.is_empty() && offsets[0] >= 0 && offsets.is_sorted()
            && offsets.iter().all(|&offset| offset <= data.len() as i64);
        match Column::new(&data, &offsets) {
            Err(error) => prop_assert!(!sound && matches!(error, EncodeError::Column(_))),
            Ok(column) => {
                prop_assert!(sound);
                let documents = offsets.windows(2).map(|two| &data[two[0] as usize..two[1] as usize]);
                let bad = documents.enumerate().find_map(|(document, bytes)| {
                    let error = std::str::from_utf8(bytes).err()?;
                    Some(EncodeError::Utf8 { document, byte: error.valid_up_to() })
                });
                match encoder.encode_batch(&column, 2) {
                    Err(error) => prop_assert_eq!(Some(error), bad),
                    Ok(batch) => {
                        prop_assert_eq!(bad, None);
                        prop_assert_eq!(batch.offsets.len(), offsets.len());
                        let whole = &data[offsets[0] as usize..offsets[offsets.len() - 1] as usize];
                        prop_assert!(batch.ids.iter().map(|&id| id as u8).eq(whole.iter().copied()));
                    }
                }
            }
        }
    }
}
