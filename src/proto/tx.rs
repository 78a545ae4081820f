//! The transaction status that ends every ReadyForQuery.

/// Transaction status of one backend (protocol chapter, ReadyForQuery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxStatus {
    /// `I`: not in a transaction block.
    Idle,
    /// `T`: in a transaction block.
    InBlock,
    /// `E`: in a failed transaction block; everything but its end is refused.
    Failed,
}

impl TxStatus {
    /// The status behind the byte of a ReadyForQuery; `None` for a byte that PostgreSQL never sends.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InBlock),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The byte of a ReadyForQuery.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InBlock => b'T',
            Self::Failed => b'E',
        }
    }
}
