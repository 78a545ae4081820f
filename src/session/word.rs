//! A name of a client's. Most are short, and those need no memory of their own: a driver that prepares, runs and closes
//! a statement for each query costs no allocation.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::ops::Deref;

/// Bytes of a name that is kept in place: as many as make it no larger than it has to be for the others.
const SHORT: usize = 22;

/// See the module. Compares as its bytes do.
#[derive(Debug, Clone)]
pub(super) enum Word {
    /// Length and bytes.
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl From<&[u8]> for Word {
    fn from(name: &[u8]) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..name.len()), u8::try_from(name.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(name);
                Self::Short(length, bytes)
            }
            _ => Self::Long(name.into()),
        }
    }
}

impl Deref for Word {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Short(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Self::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Word {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Word {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Word {}

impl PartialOrd for Word {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Word {
    fn cmp(&self, other: &Self) -> Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_bytes_however_it_is_kept() {
        assert_eq!(size_of::<Word>(), 24);
        let mut words: Vec<Word> = [63, 23, 22, 1, 0].map(|len| vec![b'x'; len].as_slice().into()).into();
        words.push(b"\0"[..].into());
        words.sort();
        assert_eq!(words.iter().map(|word| word.len()).collect::<Vec<_>>(), [0, 1, 1, 22, 23, 63]);
        assert!(words.iter().skip(2).all(|word| word.iter().all(|&byte| byte == b'x')));
    }
}
