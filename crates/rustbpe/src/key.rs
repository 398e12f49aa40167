//! Chunks of a few bytes as machine words, which compare and hash in a few instructions.

/// A chunk as machine words: the bytes, zeros, and the length in the last byte. Distinct chunks have distinct
/// keys.
pub(crate) type Key<const WORDS: usize> = [u64; WORDS];

/// Longest chunk that fits a key of this many words.
pub(crate) const fn longest(words: usize) -> usize {
    8 * words - 1
}

/// Masks for the first 0 to 15 of sixteen bytes.
const MASKS: [u128; 16] = {
    let mut masks = [0; 16];
    let mut length = 0;
    while length < 16 {
        masks[length] = (1 << (8 * length)) - 1;
        length += 1;
    }
    masks
};

/// The key of `text[from..from + len]`, `len` at most 15. Reads sixteen bytes at once where the text has them.
#[inline]
pub(crate) fn short_key(text: &[u8], from: usize, len: usize) -> Key<2> {
    let bytes = match text.get(from..).and_then(|rest| rest.first_chunk::<16>()) {
        Some(wide) => u128::from_le_bytes(*wide) & MASKS[len & 15],
        None => {
            let mut wide = [0; 16];
            wide[..len].copy_from_slice(&text[from..from + len]);
            u128::from_le_bytes(wide)
        }
    };
    [bytes as u64, (bytes >> 64) as u64 | (len as u64) << 56]
}

/// The key of a chunk of at most `longest(WORDS)` bytes.
pub(crate) fn long_key<const WORDS: usize>(chunk: &[u8]) -> Key<WORDS> {
    let mut key = [0; WORDS];
    for (word, bytes) in key.iter_mut().zip(chunk.chunks(8)) {
        let mut eight = [0; 8];
        eight[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(eight);
    }
    key[WORDS - 1] |= (chunk.len() as u64) << 56;
    key
}

/// A number whose upper bits depend on the whole key.
#[inline]
pub(crate) fn hash<const WORDS: usize>(key: &Key<WORDS>) -> u64 {
    let mut hash = 0;
    for two in key.chunks_exact(2) {
        hash = folded(two[0] ^ hash ^ 0x243F_6A88_85A3_08D3, two[1] ^ 0x1319_8A2E_0370_7344);
    }
    hash
}

/// Both halves of the product: every bit of the operands reaches every bit of the result.
#[inline]
fn folded(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zeros_at_the_end_are_part_of_the_key() {
        assert_ne!(short_key(b"a", 0, 1), short_key(b"a\0", 0, 2));
        assert_ne!(long_key::<6>(b"a"), long_key::<6>(b"a\0"));
        assert_ne!(long_key::<6>(&[0; 46]), long_key::<6>(&[0; 47]));
    }

    proptest! {
        #[test]
        fn a_key_does_not_depend_on_what_follows(before in ".{0,9}", chunk in "\\PC{0,5}", after in ".{0,20}") {
            let len = chunk.len();
            prop_assume!(len <= longest(2));
            let text = format!("{before}{chunk}{after}");
            let key = short_key(text.as_bytes(), before.len(), len);
            prop_assert_eq!(key, short_key(chunk.as_bytes(), 0, len));
            prop_assert_eq!(key, long_key::<2>(chunk.as_bytes()));
        }
    }
}
