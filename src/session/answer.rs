//! What a server answered to a question of our own: rows of text, or an error.

use crate::proto::PgError;

/// Bytes of rows that are kept; far more than the settings of one session.
const MAX_ANSWER: usize = 64 * 1024;

/// A row: its columns, `None` for NULL.
pub(super) type Row = Vec<Option<Box<[u8]>>>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Row>,
    bytes: usize,
    /// What went wrong instead, if anything did.
    pub(super) error: Option<PgError>,
    /// More came than is kept, or what came could not be read.
    broken: bool,
}

impl Answer {
    /// Takes the body of a DataRow, as far as it was held.
    pub(super) fn take_row(&mut self, body: &[u8]) {
        self.bytes += body.len();
        match read_row(body) {
            Some(row) if self.bytes <= MAX_ANSWER => self.rows.push(row),
            Some(_) | None => self.broken = true,
        }
    }

    /// The rows, if all came and nothing went wrong.
    pub(super) fn into_rows(self) -> Result<Vec<Row>, Option<PgError>> {
        match self.error {
            Some(error) => Err(Some(error)),
            None if self.broken => Err(None),
            None => Ok(self.rows),
        }
    }
}

fn read_row(body: &[u8]) -> Option<Row> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    let mut row = Row::new();
    for _ in 0..u16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        rest = behind;
        row.push(match usize::try_from(length) {
            Ok(length) => {
                let (value, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Some(value.into())
            }
            Err(_) if length == -1 => None,
            Err(_) => return None,
        });
    }
    rest.is_empty().then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_and_what_is_no_row_spoils_the_answer() {
        let mut answer = Answer::default();
        answer.take_row(b"\0\x02\0\0\0\x01a\xff\xff\xff\xff");
        let rows = answer.into_rows().unwrap();
        assert_eq!(rows, [vec![Some(b"a"[..].into()), None]]);
        for broken in [&b"\0\x01\0\0\0\x02a"[..], b"\0\x01\xff\xff\xff\xfe", b"\0\x01\0\0\0\0x", b"\0"] {
            let mut answer = Answer::default();
            answer.take_row(broken);
            assert!(matches!(answer.into_rows(), Err(None)), "{broken:?}");
        }
    }

    #[test]
    fn an_answer_without_end_is_not_kept() {
        let mut answer = Answer::default();
        let mut row = b"\0\x01\0\0\x10\0".to_vec();
        row.extend([b'x'; 4096]);
        for _ in 0..17 {
            answer.take_row(&row);
        }
        assert!(answer.rows.len() <= 16 && matches!(answer.into_rows(), Err(None)));
    }
}
