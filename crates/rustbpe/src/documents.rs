//! Documents as Arrow keeps them: all texts in one buffer, and where each begins in another.

use crate::error::TrainError;

/// One column of texts, as a slice of Arrow buffers (types `string` and `large_string`).
#[derive(Debug, Clone, Copy)]
pub struct ArrowTexts<'t> {
    /// The bytes of all texts.
    pub data: &'t [u8],
    /// `offset + length + 1` integers in the order of this machine: text i is `data[offsets[i]..offsets[i + 1]]`.
    pub offsets: &'t [u8],
    /// Are the offsets of 64 bits, not 32?
    pub wide: bool,
    /// One bit per text, from the lowest of the first byte on; 0 means there is none. No buffer: all are there.
    pub validity: Option<&'t [u8]>,
    /// The first text of the slice.
    pub offset: usize,
    /// How many texts.
    pub length: usize,
}

/// How much of the documents to read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Characters of a document that count; the rest is passed over.
    pub doc_cap: u64,
    /// Characters of all documents together, after the cap; nothing is read beyond.
    pub max_chars: u64,
}

/// Documents cut to the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut<'t> {
    /// The documents, the last of which may be cut short by `max_chars`.
    pub texts: Vec<&'t str>,
    /// Characters in all of them.
    pub chars: u64,
}

impl<'t> ArrowTexts<'t> {
    /// The texts up to the limits; one that is not there (null) is empty.
    ///
    /// # Errors
    /// `Utf8`: a document that was read is not UTF-8, counted from 0 in this slice. `Buffers`: the offsets do not
    /// fit the data.
    pub fn cut(&self, limits: Limits) -> Result<Cut<'t>, TrainError> {
        cut_all((0..self.length).map(|document| self.text(document)), limits)
    }

    fn text(&self, document: usize) -> Result<&'t [u8], TrainError> {
        let index = self.offset.checked_add(document).ok_or_else(|| self.broken(document))?;
        if let Some(bits) = self.validity {
            let byte = bits.get(index / 8).ok_or_else(|| self.broken(document))?;
            if byte >> (index % 8) & 1 == 0 {
                return Ok(&[]);
            }
        }
        let start = self.place(index).ok_or_else(|| self.broken(document))?;
        let end = self.place(index + 1).ok_or_else(|| self.broken(document))?;
        self.data.get(start..end).ok_or_else(|| self.broken(document))
    }

    fn place(&self, index: usize) -> Option<usize> {
        if self.wide {
            let bytes = self.offsets.get(index.checked_mul(8)?..)?.first_chunk()?;
            usize::try_from(i64::from_ne_bytes(*bytes)).ok()
        } else {
            let bytes = self.offsets.get(index.checked_mul(4)?..)?.first_chunk()?;
            usize::try_from(i32::from_ne_bytes(*bytes)).ok()
        }
    }

    fn broken(&self, document: usize) -> TrainError {
        TrainError::Buffers(format!("document {document} of {} lies outside of them", self.length))
    }
}

/// The documents up to the limits. No more are drawn than are needed.
///
/// # Errors
/// `Utf8`: one that was drawn is not UTF-8; or the error of the document.
pub(crate) fn cut_all<'t>(
    documents: impl Iterator<Item = Result<&'t [u8], TrainError>>,
    limits: Limits,
) -> Result<Cut<'t>, TrainError> {
    let mut texts = Vec::new();
    let mut chars = 0;
    if limits.max_chars > 0 {
        for (document, bytes) in documents.enumerate() {
            let (text, length) = cut(bytes?, limits.doc_cap.min(limits.max_chars - chars))
                .map_err(|byte| TrainError::Utf8 { document, byte })?;
            texts.push(text);
            chars += length;
            if chars >= limits.max_chars {
                break;
            }
        }
    }
    Ok(Cut { texts, chars })
}

/// The first `cap` characters of a text and their number. On an error the byte that is not UTF-8.
fn cut(bytes: &[u8], cap: u64) -> Result<(&str, u64), usize> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.valid_up_to())?;
    // Most documents are ASCII, and those that have fewer bytes than the cap have fewer characters too.
    let count = if text.is_ascii() { text.len() } else { text.chars().count() } as u64;
    if count <= cap {
        return Ok((text, count));
    }
    let end = match usize::try_from(cap) {
        Ok(cap) if text.is_ascii() => cap,
        Ok(cap) => text.char_indices().nth(cap).map_or(text.len(), |(at, _)| at),
        Err(_) => text.len(),
    };
    Ok((&text[..end], cap))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LIMITS: Limits = Limits { doc_cap: u64::MAX, max_chars: u64::MAX };

    fn offsets(places: &[i32]) -> Vec<u8> {
        places.iter().flat_map(|place| place.to_ne_bytes()).collect()
    }

    fn column<'t>(data: &'t [u8], offsets: &'t [u8], length: usize) -> ArrowTexts<'t> {
        ArrowTexts { data, offsets, wide: false, validity: None, offset: 0, length }
    }

    #[test]
    fn texts_of_narrow_and_wide_offsets() {
        let narrow = offsets(&[0, 1, 1, 4]);
        let texts = column(b"abcd", &narrow, 3);
        assert_eq!(texts.cut(NO_LIMITS), Ok(Cut { texts: vec!["a", "", "bcd"], chars: 4 }));
        let wide: Vec<u8> = [0_i64, 1, 1, 4].iter().flat_map(|place| place.to_ne_bytes()).collect();
        let texts = ArrowTexts { offsets: &wide, wide: true, offset: 1, length: 2, ..texts };
        assert_eq!(texts.cut(NO_LIMITS), Ok(Cut { texts: vec!["", "bcd"], chars: 3 }));
    }

    #[test]
    fn what_is_not_there_is_empty() {
        let places = offsets(&[0, 1, 2, 3]);
        let texts = ArrowTexts { validity: Some(&[0b101]), ..column(b"abc", &places, 3) };
        assert_eq!(texts.cut(NO_LIMITS), Ok(Cut { texts: vec!["a", "", "c"], chars: 2 }));
        let texts = ArrowTexts { offset: 1, length: 2, ..texts };
        assert_eq!(texts.cut(NO_LIMITS), Ok(Cut { texts: vec!["", "c"], chars: 1 }));
    }

    #[test]
    fn caps_count_characters() {
        let data = "aé🙂한bc".as_bytes();
        let places = offsets(&[0, data.len() as i32 - 2, data.len() as i32]);
        let cut =
            |doc_cap, max_chars| column(data, &places, 2).cut(Limits { doc_cap, max_chars }).expect("UTF-8");
        assert_eq!(cut(3, 100), Cut { texts: vec!["aé🙂", "bc"], chars: 5 });
        assert_eq!(cut(100, 100), Cut { texts: vec!["aé🙂한", "bc"], chars: 6 });
        assert_eq!(cut(100, 5), Cut { texts: vec!["aé🙂한", "b"], chars: 5 });
        assert_eq!(cut(100, 4), Cut { texts: vec!["aé🙂한"], chars: 4 });
        assert_eq!(cut(1, 2), Cut { texts: vec!["a", "b"], chars: 2 });
        assert_eq!(cut(1, 0), Cut { texts: vec![], chars: 0 });
    }

    #[test]
    fn bad_bytes_are_named() {
        let places = offsets(&[0, 1, 4, 5]);
        let texts = column(b"ab\xFFcd", &places, 3);
        assert_eq!(texts.cut(NO_LIMITS), Err(TrainError::Utf8 { document: 1, byte: 1 }));
        // half a character at the end of a text is no character, though the next text would complete it
        let halves = offsets(&[0, 1, 2]);
        let texts = column("é".as_bytes(), &halves, 2);
        assert_eq!(texts.cut(NO_LIMITS), Err(TrainError::Utf8 { document: 0, byte: 0 }));
        // what lies beyond max_chars is not looked at
        let texts = column(b"ab\xFFcd", &places, 3);
        assert!(texts.cut(Limits { doc_cap: 9, max_chars: 1 }).is_ok());
    }

    #[test]
    fn offsets_that_do_not_fit_are_an_error() {
        for places in [&[0, 5][..], &[2, 1], &[-1, 1], &[0], &[]] {
            let places = offsets(places);
            assert!(matches!(column(b"abcd", &places, 1).cut(NO_LIMITS), Err(TrainError::Buffers(_))));
        }
        let places = offsets(&[0, 1]);
        let texts = ArrowTexts { offset: usize::MAX, ..column(b"a", &places, 1) };
        assert!(matches!(texts.cut(NO_LIMITS), Err(TrainError::Buffers(_))));
        let texts = ArrowTexts { validity: Some(&[]), ..column(b"a", &places, 1) };
        assert!(matches!(texts.cut(NO_LIMITS), Err(TrainError::Buffers(_))));
    }
}
